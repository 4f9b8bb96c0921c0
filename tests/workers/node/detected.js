// A module by its statements alone: no package.json says so.
import { serve } from 'hirelings-worker';

serve((job) => ({ echo: job, esm: typeof require === 'undefined' }));
