// The memory between the worker that converts and the one that reads for it.

/** Places in the shared numbers, and where bytes begin. */
export const STATE = 0, LENGTH = 1, BYTES = 16;

/** States. */
export const IDLE = 0, READ = 1, FAILED = 2;

/** Bytes that are read at a time. */
export const PIECE = 4 << 20;
