/** What networks and proxies do to requests, on demand: each fault holds for the paths it was set for until `clear`. */
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

type Fault =
  | { readonly kind: 'slow' | 'late'; readonly ms: number }
  | { readonly kind: 'hang' | 'badGateway' | 'garble' | 'reset' | 'loseAnswer' };

export interface FaultControl {
  /** Every answer comes `ms` later. */
  slow(ms: number, ...paths: string[]): void;
  /** Performs the request at once, and answers `ms` later. */
  late(ms: number, ...paths: string[]): void;
  /** Accepts the request, does nothing, and never answers. */
  hang(...paths: string[]): void;
  /** The 502 page of a proxy whose Forgejo is down. */
  badGateway(...paths: string[]): void;
  /** A 200 that says JSON and is none, the request undone. */
  garble(...paths: string[]): void;
  /** Ends the connection with a TCP reset, the request undone. */
  reset(...paths: string[]): void;
  /** Performs the request, then drops the connection instead of answering. */
  loseAnswer(...paths: string[]): void;
  /** The network is fine again. A request that hangs already stays unanswered. */
  clear(): void;
  /** Ends the connections of the requests that hang. */
  hangUp(): void;
  /** How many requests there were for a path and everything below it. */
  count(path: string): number;
}

const BAD_GATEWAY = `<html>
<head><title>502 Bad Gateway</title></head>
<body><center><h1>502 Bad Gateway</h1></center></body>
</html>
`;

export class Faults implements FaultControl {
  /** By path; `/` stands for all. The last one set for a path wins. */
  readonly #faults = new Map<string, Fault>();
  readonly #seen: string[] = [];
  readonly #closed: AbortSignal;
  readonly #hanging = new Set<Socket>();

  constructor(closed: AbortSignal) {
    this.#closed = closed;
  }

  slow(ms: number, ...paths: string[]): void {
    this.#set({ kind: 'slow', ms }, paths);
  }

  late(ms: number, ...paths: string[]): void {
    this.#set({ kind: 'late', ms }, paths);
  }

  hang(...paths: string[]): void {
    this.#set({ kind: 'hang' }, paths);
  }

  badGateway(...paths: string[]): void {
    this.#set({ kind: 'badGateway' }, paths);
  }

  garble(...paths: string[]): void {
    this.#set({ kind: 'garble' }, paths);
  }

  reset(...paths: string[]): void {
    this.#set({ kind: 'reset' }, paths);
  }

  loseAnswer(...paths: string[]): void {
    this.#set({ kind: 'loseAnswer' }, paths);
  }

  clear(): void {
    this.#faults.clear();
  }

  hangUp(): void {
    for (const socket of this.#hanging) socket.destroy();
    this.#hanging.clear();
  }

  count(path: string): number {
    return this.#seen.filter((seen) => covers(path, seen)).length;
  }

  /** Answers a request, or lets its fault happen. */
  async pass(path: string, socket: Socket, answer: () => Response | Promise<Response>): Promise<Response> {
    this.#seen.push(path);
    const fault = [...this.#faults].findLast(([covered]) => covers(covered, path))?.[1];
    switch (fault?.kind) {
      case undefined:
        return await answer();
      case 'slow':
        await sleep(fault.ms, undefined, { signal: this.#closed });
        return await answer();
      case 'late': {
        const answered = await answer();
        await sleep(fault.ms, undefined, { signal: this.#closed });
        return answered;
      }
      case 'hang':
        this.#hanging.add(socket);
        socket.once('close', () => this.#hanging.delete(socket));
        return await never();
      case 'badGateway':
        return new Response(BAD_GATEWAY, { status: 502, headers: { 'content-type': 'text/html' } });
      case 'garble':
        return new Response('{"access_token": "eyJ', { headers: { 'content-type': 'application/json' } });
      case 'reset':
        socket.resetAndDestroy();
        return await never();
      case 'loseAnswer':
        await answer();
        socket.destroy();
        return await never();
    }
  }

  #set(fault: Fault, paths: readonly string[]): void {
    for (const path of paths.length === 0 ? ['/'] : paths) {
      this.#faults.delete(path);
      this.#faults.set(path, fault);
    }
  }
}

function covers(path: string, seen: string): boolean {
  return path === '/' || seen === path || seen.startsWith(`${path}/`);
}

function never(): Promise<never> {
  return new Promise(() => {});
}
