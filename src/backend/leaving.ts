/** What has to be done when a client goes away. It changes as the request goes on; and the client may be gone by then. */
export class Leaving {
  #leave: (() => void) | undefined;
  #isGone: boolean = false;

  get isGone(): boolean {
    return this.#isGone;
  }

  /** From now on this is what has to be done: at once, if the client is gone. */
  means(leave: () => void): void {
    this.#leave = leave;
    if (this.#isGone) leave();
  }

  readonly go = (): void => {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#leave?.();
  };
}
