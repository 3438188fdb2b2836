/** Why a command ends early. What it says is for the person at the terminal, and all there is to say. */

/** A command line that says nothing we can do. `usage` is the text that helps, where there is one of its own. */
export class UsageProblem extends Error {
  readonly usage: string | undefined;

  constructor(message?: string, options?: ErrorOptions & { readonly usage?: string }) {
    super(message, options);
    this.usage = options?.usage;
  }
}

/** A command that is clear and cannot be carried out, as things stand. */
export class CommandProblem extends Error {}

/** Runs Node's `parseArgs` and says what it refuses in one sentence: what follows is advice of no use here. */
export function refusing<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    const [sentence] = String(cause instanceof Error ? cause.message : cause).split(/\.?\s*\n|\. /);
    throw new UsageProblem(sentence, { cause });
  }
}
