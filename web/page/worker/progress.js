// Tells the page how far the work is, a few times a second.

/** Milliseconds between two messages. */
const PAUSE = 120;

/**
 * @typedef {object} Progress
 * @property {string} stage what is done: `import`, `measure`, `export` or `arrays`
 * @property {number} tensor number of the tensor that is written, from 0
 * @property {number} tensors
 * @property {string} name its name
 * @property {string} encoding what it becomes
 * @property {number} done bytes
 * @property {number} bytes
 */

export class Reporter {
  /** @param {(message: {progress: Progress} | {note: string}) => void} post */
  constructor(post) {
    this.post = post;
    this.last = 0;
    /** @type {Progress} */
    this.now = { stage: "", tensor: 0, tensors: 0, name: "", encoding: "", done: 0, bytes: 0 };
    /** Stages to come. @type {string[]} */
    this.stages = [];
  }

  /** @param {number} tensors @param {number} bytes */
  start(tensors, bytes) {
    // A size as the target is measured for first.
    const stage = this.stages.shift() ?? this.now.stage;
    this.now = { stage, tensor: 0, tensors, name: "", encoding: "", done: 0, bytes };
    this.send(true);
  }

  /** @param {number} index @param {string} name @param {string} encoding */
  tensor(index, name, encoding) {
    Object.assign(this.now, { tensor: index, name, encoding });
    this.send(false);
  }

  /** @param {number} done */
  bytes(done) {
    this.now.done = done;
    this.send(done >= this.now.bytes);
  }

  /** @param {string} text */
  note(text) {
    this.post({ note: text });
  }

  /** @param {boolean} always */
  send(always) {
    const time = performance.now();
    if (!always && time - this.last < PAUSE) return;
    this.last = time;
    this.post({ progress: { ...this.now } });
  }
}
