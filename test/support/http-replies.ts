/** Reads the replies of an HTTP server from a raw connection. Shares no code with the servers or the load generator. */
import type { Client } from './clients.js';

export interface HttpReply {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

/** Replies of one connection, one after another. */
export class ReplyReader {
  constructor(private readonly client: Client) {}

  /**
   * The next reply; its body has the length that its header says.
   * @param isHead the reply is to a HEAD request: it has no body
   */
  async next(isHead = false): Promise<HttpReply> {
    const lines = await this.header();
    const [version, code = ''] = (lines[0] ?? '').split(' ');
    if (version !== 'HTTP/1.1' || !/^[1-5]\d\d$/.test(code)) throw new Error(`not a status line: ${lines[0] ?? ''}`);
    const headers = new Map(lines.slice(1).map(field));
    const status = Number(code);
    const length = headers.get('content-length');
    if (status >= 200 && (length === undefined || !/^\d+$/.test(length))) throw new Error('no Content-Length');
    const bytes = isHead || status < 200 ? 0 : Number(length);
    return { status, headers, body: bytes === 0 ? Buffer.alloc(0) : await this.client.receive(bytes) };
  }

  /** The lines before the empty one. */
  private async header(): Promise<string[]> {
    const bytes: Buffer[] = [];
    for (;;) {
      // The shortest rest of a header that can still come, so that no byte of the body is taken.
      const text = Buffer.concat(bytes).toString('latin1');
      if (text.endsWith('\r\n\r\n')) return text.slice(0, -4).split('\r\n');
      const missing = text.endsWith('\r\n\r') ? 1 : text.endsWith('\r\n') ? 2 : text.endsWith('\r') ? 3 : 4;
      bytes.push(await this.client.receive(missing));
    }
  }
}

function field(line: string): [name: string, value: string] {
  const colon = line.indexOf(':');
  if (colon <= 0) throw new Error(`not a header field: ${line}`);
  return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
}
