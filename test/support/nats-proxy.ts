/** A TCP proxy in front of a broker that sees the messages of one agent and can hold back those to it, as a slow network does. */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { Test } from 'tap';

/** Called with each piece of data, as text, before it is passed on. The protocol of NATS is text, and short messages come in one piece. */
export type Look = (text: string, direction: 'to-agent' | 'from-agent') => void;

export class NatsProxy {
  private readonly server: Server;
  private readonly sockets: Socket[] = [];
  private held: (() => void)[] | null = null;

  constructor(
    test: Test,
    private readonly brokerPort: number,
    private readonly look: Look,
  ) {
    this.server = createServer((agent) => {
      this.join(agent);
    });
    test.teardown(() => {
      for (const socket of this.sockets) socket.destroy();
      this.server.close();
    });
  }

  /** @returns the URL that the agent connects to */
  listen(): Promise<string> {
    return new Promise((resolve) => {
      this.server.listen(0, '127.0.0.1', () => {
        resolve(`nats://127.0.0.1:${(this.server.address() as AddressInfo).port}`);
      });
    });
  }

  /** Nothing reaches the agent until release(). */
  hold(): void {
    this.held ??= [];
  }

  release(): void {
    const held = this.held ?? [];
    this.held = null;
    for (const send of held) send();
  }

  private join(agent: Socket): void {
    const broker = connect(this.brokerPort, '127.0.0.1');
    this.sockets.push(agent, broker);
    for (const socket of [agent, broker]) {
      socket.setNoDelay(true);
      socket.on('error', () => undefined);
    }
    agent.on('close', () => broker.destroy());
    broker.on('close', () => agent.destroy());
    agent.on('data', (bytes) => {
      this.look(bytes.toString('latin1'), 'from-agent');
      broker.write(bytes);
    });
    broker.on('data', (bytes) => {
      this.look(bytes.toString('latin1'), 'to-agent');
      if (this.held === null) agent.write(bytes);
      else this.held.push(() => agent.write(bytes));
    });
  }
}
