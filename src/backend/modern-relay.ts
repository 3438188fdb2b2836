/** For modern clients on modern servers. Not there yet. */
import { rawAt } from '../mcp/message.js';
import { ERRORS, errorAnswer } from '../mcp/protocol.js';
import type { Exchange } from './calls.js';
import type { Asked, ModernOptions, ModernWay } from './modern.js';

export class ModernRelay implements ModernWay {
  constructor(_options: ModernOptions) {}

  request({ request: { message } }: Asked, exchange: Exchange): () => void {
    void exchange.end(errorAnswer(rawAt(message.bytes, message.id), ERRORS.unknownMethod));
    return () => undefined;
  }
}
