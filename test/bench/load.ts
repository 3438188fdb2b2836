/**
 * The load generator, in a process of its own: keep-alive connections, each with one request in flight, and no more
 * parsing than it takes to know where an answer ends and whether it is the right one.
 */
import { connect, type Socket } from 'node:net';
import { performance } from 'node:perf_hooks';

export interface LoadJob {
  readonly port: number;
  readonly connections: number;
  readonly warmUpMs: number;
  /** The time that is measured; a list of requests may end it earlier. */
  readonly measureMs: number;
  readonly requests: RepeatedRequest | ListedRequests;
  /** What every answer's first line has to say. */
  readonly status: number;
}

/** The same request under ever new ids, with one head after the other. */
export interface RepeatedRequest {
  readonly kind: 'repeated';
  /** Without `Content-Length` and the empty line. */
  readonly heads: readonly string[];
  readonly beforeId: string;
  readonly afterId: string;
  /** Whether the answer has to carry the id: a bare server's does not. */
  readonly checkId: boolean;
}

/** Whole requests, each sent once. */
export interface ListedRequests {
  readonly kind: 'listed';
  readonly requests: readonly string[];
}

export interface LoadResult {
  /** Those within the measured time. */
  readonly answers: number;
  readonly allAnswers: number;
  /** Wrong status, wrong id, or a connection that broke. */
  readonly errors: number;
  readonly firstError: string | undefined;
  readonly seconds: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

const READ_BYTES = 256 * 1024;
const END_OF_HEAD = Buffer.from('\r\n\r\n');
const END_OF_CHUNKS = Buffer.from('\r\n0\r\n\r\n');
const FIRST_ID = 1000;
const ANSWER_MS = 30_000;

/** Ids are unique over all jobs of this process. */
let lastId = FIRST_ID;

interface Request {
  readonly text: string;
  readonly id: string;
}

function source(job: LoadJob): () => Request | undefined {
  const { requests } = job;
  if (requests.kind === 'listed') {
    let at = 0;
    return () => {
      const text = requests.requests[at];
      at += 1;
      return text === undefined ? undefined : { text, id: '' };
    };
  }
  const { heads, beforeId, afterId, checkId } = requests;
  let turn = 0;
  return () => {
    turn += 1;
    lastId += 1;
    const body = beforeId + lastId + afterId;
    const head = heads[turn % heads.length] ?? '';
    return {
      text: `${head}Content-Length: ${body.length}\r\n\r\n${body}`,
      id: checkId ? `"id":${lastId}` : '',
    };
  };
}

/** Where an answer ends, told by what came so far. */
class Reader {
  #left = -1;
  #isChunked: boolean = false;
  #head: Buffer = Buffer.alloc(0);
  #tail: Buffer = Buffer.alloc(0);

  /** True once the answer is whole. */
  take(chunk: Buffer): boolean {
    let body = chunk;
    if (this.#left === -1) {
      this.#head = this.#head.length === 0 ? chunk : Buffer.concat([this.#head, chunk]);
      const end = this.#head.indexOf(END_OF_HEAD);
      if (end === -1) {
        this.#head = Buffer.from(this.#head);
        return false;
      }
      const head = this.#head.toString('latin1', 0, end).toLowerCase();
      const length = /\ncontent-length: *(\d+)/.exec(head)?.[1];
      this.#isChunked = length === undefined && head.includes('\ntransfer-encoding: chunked');
      this.#left = Number(length ?? 0);
      // From the line break before it: a body without a byte is its end at once.
      body = this.#head.subarray(this.#isChunked ? end + 2 : end + END_OF_HEAD.length);
    }
    if (!this.#isChunked) {
      this.#left -= body.length;
      return this.#left <= 0;
    }
    this.#tail =
      body.length >= END_OF_CHUNKS.length
        ? Buffer.from(body.subarray(-END_OF_CHUNKS.length))
        : Buffer.concat([this.#tail, body]).subarray(-END_OF_CHUNKS.length);
    return this.#tail.equals(END_OF_CHUNKS);
  }
}

function run(job: LoadJob): Promise<LoadResult> {
  const next = source(job);
  const latencies: number[] = [];
  const status = Buffer.from(`HTTP/1.1 ${job.status} `);
  const startsAt = performance.now() + job.warmUpMs;
  const endsAt = startsAt + job.measureMs;
  let errors = 0;
  let firstError: string | undefined;
  let lastAt = startsAt;
  let allAnswers = 0;
  const fail = (why: string) => {
    errors += 1;
    firstError ??= why;
  };

  const drive = (): Promise<void> =>
    new Promise((done) => {
      let request: Request | undefined;
      let sentAt = 0;
      let reader = new Reader();
      let hasId = false;
      let silence: NodeJS.Timeout | undefined;
      const end = () => {
        clearTimeout(silence);
        socket.destroy();
        done();
      };
      const ask = () => {
        request = next();
        sentAt = performance.now();
        if (request === undefined || sentAt >= endsAt) return end();
        reader = new Reader();
        hasId = false;
        silence?.refresh();
        socket.write(request.text, 'latin1');
      };
      const hear = (chunk: Buffer) => {
        if (request === undefined) return;
        if (!hasId && request.id !== '') hasId = chunk.includes(request.id, 0, 'latin1');
        const isFirst = chunk.length >= status.length && chunk[0] === 0x48 && chunk[1] === 0x54;
        if (isFirst && chunk.compare(status, 0, status.length, 0, status.length) !== 0) {
          fail(chunk.toString('latin1', 0, 400));
        }
        if (!reader.take(chunk)) return;
        const now = performance.now();
        allAnswers += 1;
        if (request.id !== '' && !hasId) fail(`an answer without ${request.id}`);
        if (sentAt >= startsAt && now <= endsAt) {
          latencies.push((now - sentAt) * 1000);
          lastAt = now;
        }
        ask();
      };
      const socket: Socket = connect({
        host: '127.0.0.1',
        port: job.port,
        noDelay: true,
        onread: {
          buffer: Buffer.allocUnsafe(READ_BYTES),
          callback: (size, buffer) => {
            hear(Buffer.from(buffer.buffer, buffer.byteOffset, size));
            return true;
          },
        },
      });
      silence = setTimeout(() => {
        fail('no answer');
        end();
      }, ANSWER_MS);
      socket.once('connect', ask);
      socket.once('error', (error) => fail(error.message));
      socket.once('close', () => {
        if (request !== undefined && performance.now() < endsAt) fail('the connection closed');
        end();
      });
    });

  return Promise.all(Array.from({ length: job.connections }, drive)).then(() => {
    const sorted = Float64Array.from(latencies).sort();
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
    const isList = job.requests.kind === 'listed';
    const seconds = (isList ? lastAt - startsAt : job.measureMs) / 1000;
    return {
      answers: sorted.length,
      allAnswers,
      errors,
      firstError,
      seconds,
      p50Us: at(0.5),
      p99Us: at(0.99),
    };
  });
}

process.on('message', (job: LoadJob) => {
  void run(job).then((result) => process.send?.(result));
});
process.on('disconnect', () => process.exit(0));
