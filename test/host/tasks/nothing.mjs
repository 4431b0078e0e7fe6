// A module without a task.
export const answer = 42
