mod mailbox;
mod pace;
mod silence;
