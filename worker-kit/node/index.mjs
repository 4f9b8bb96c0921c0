export { serve, Worker, Failed, Panic } from './index.js';
