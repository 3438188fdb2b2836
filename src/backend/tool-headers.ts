/**
 * Which headers repeat the arguments of a server's tools: read from its own list of tools, which is asked for once, unless
 * a client's list came by already. What is wrong with a list is no reason to refuse a call.
 */
import { type RequestMessage, readMessage, textAt, valueAt } from '../mcp/message.js';
import { type ParamHeader, readToolHeaders } from '../mcp/param-headers.js';
import { request } from '../mcp/protocol.js';

/** Undefined when there is no answer. */
export type ListTools = (list: RequestMessage) => Promise<Buffer | undefined>;

type Book = ReadonlyMap<string, readonly ParamHeader[]>;

const MAX_PAGES = 100;

export class ToolHeaders {
  readonly #list: ListTools;
  #book: Book | Promise<Book> | undefined;

  constructor(list: ListTools) {
    this.#list = list;
  }

  /** The list has changed. */
  forget(): void {
    this.#book = undefined;
  }

  /** There is another child to ask; a question under way is for it. */
  renew(): void {
    if (!(this.#book instanceof Promise)) this.#book = undefined;
  }

  /** The server's answer to a list that a client asked for. */
  overhear(list: RequestMessage, answer: Buffer): void {
    if (this.#book !== undefined || valueAt(list.bytes, ['params', 'cursor']) !== undefined) return;
    if (valueAt(answer, ['result', 'tools']) === undefined || cursorIn(answer) !== undefined) return;
    this.#book = readToolHeaders(answer).headers;
  }

  /** Those of one tool; at once when the list is known. */
  of(tool: string): readonly ParamHeader[] | Promise<readonly ParamHeader[]> {
    this.#book ??= this.#read();
    const book = this.#book;
    return book instanceof Promise ? book.then((it) => it.get(tool) ?? []) : (book.get(tool) ?? []);
  }

  #read(): Promise<Book> {
    const settle = (book?: Book) => {
      if (this.#book === reading) this.#book = book;
    };
    const reading: Promise<Book> = this.#readAll().then(
      (book) => {
        settle(book);
        return book;
      },
      (error: unknown) => {
        // What broke once is tried again.
        settle();
        throw error;
      },
    );
    return reading;
  }

  async #readAll(): Promise<Book> {
    const book = new Map<string, readonly ParamHeader[]>();
    let cursor: string | undefined;
    for (let page = 0; page < MAX_PAGES; page += 1) {
      const params = cursor === undefined ? {} : { cursor };
      const list = readMessage(request('"fjmcp-broker"', 'tools/list', params));
      const answer = list.kind === 'request' ? await this.#list(list) : undefined;
      if (answer === undefined) break;
      for (const [tool, headers] of readToolHeaders(answer).headers) book.set(tool, headers);
      cursor = cursorIn(answer);
      if (cursor === undefined) break;
    }
    return book;
  }
}

function cursorIn(answer: Buffer): string | undefined {
  const cursor = valueAt(answer, ['result', 'nextCursor']);
  return cursor && textAt(answer, cursor);
}
