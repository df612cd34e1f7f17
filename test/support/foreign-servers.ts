/** Servers of other people, for tests of the client: nginx, redis-server, Python's http.server. Each is ended by the test. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { Test } from 'tap';
import { findProgram, freePort } from './environment.js';
import { makePlace } from './cli.js';
import { until } from './wait.js';

/** Waits until a server listens that does not report it. */
export async function listens(port: number): Promise<boolean> {
  return await until(async () => {
    const socket = connect(port, '127.0.0.1');
    const open = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => {
        resolve(true);
      });
      socket.once('error', () => {
        resolve(false);
      });
    });
    socket.destroy();
    return open;
  });
}

export async function startServer(
  test: Test,
  port: number,
  program: string,
  args: readonly string[],
): Promise<ChildProcess> {
  // In its own process group, because some have workers.
  const child = spawn(findProgram(program) ?? program, args, { detached: true, stdio: 'ignore' });
  test.teardown(() => {
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGKILL');
  });
  if (!(await listens(port))) throw new Error(`${program} does not listen on port ${port}`);
  return child;
}

/** nginx in one process. Returns its port. @param server the body of its `server` block, for the port and the folder of its files */
export async function startNginxWith(test: Test, server: (port: number, folder: string) => string): Promise<number> {
  const port = await freePort();
  const { folder } = makePlace(test);
  mkdirSync(join(folder, 'logs'));
  writeFileSync(join(folder, 'index.html'), 'hello\n');
  writeFileSync(
    join(folder, 'nginx.conf'),
    `daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/error.log;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
  server {
${server(port, folder)}
    location /close { keepalive_timeout 0; return 200 "bye\\n"; }
  }
}
`,
  );
  await startServer(test, port, 'nginx', ['-p', folder, '-c', join(folder, 'nginx.conf')]);
  return port;
}

/** nginx: /: "hello" from a file; /status: its counters; /busy: 503; /close: without keep-alive. Returns its port. */
export async function startNginx(test: Test): Promise<number> {
  return await startNginxWith(
    test,
    (port, folder) => `    listen 127.0.0.1:${port} backlog=1024;
    root ${folder};
    location /status { stub_status; }
    location /busy { return 503; }`,
  );
}

/** What nginx has counted since its start. The question itself is a connection and a request, and is included. */
export async function nginxCounters(port: number): Promise<{ connections: number; requests: number }> {
  const text = await new Promise<string>((resolve, reject) => {
    const asked = get({ host: '127.0.0.1', port, path: '/status', agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (part: string) => {
        body += part;
      });
      response.on('end', () => {
        resolve(body);
      });
    });
    asked.on('error', reject);
  });
  const [, accepted, requests] = /requests\s+(\d+) \d+ (\d+)/.exec(text) ?? [];
  if (accepted === undefined || requests === undefined) throw new Error(`not a status of nginx: ${text}`);
  return { connections: Number(accepted), requests: Number(requests) };
}

/** redis-server without persistence. Returns its port. @param more further options */
export async function startRedis(test: Test, ...more: string[]): Promise<number> {
  const port = await freePort();
  const { folder } = makePlace(test);
  const plain = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', folder];
  await startServer(test, port, 'redis-server', [...plain, ...more]);
  return port;
}

/** Python's http.server, which speaks HTTP/1.0 and lists an empty folder. Returns its port. */
export async function startPythonHttp(test: Test): Promise<number> {
  const port = await freePort();
  const { folder } = makePlace(test);
  const args = ['-m', 'http.server', String(port), '--bind', '127.0.0.1', '--directory', folder];
  await startServer(test, port, 'python3', args);
  return port;
}

/** haproxy, which answers every request itself. Returns its port. */
export async function startHaproxy(test: Test): Promise<number> {
  const port = await freePort();
  const { folder } = makePlace(test);
  writeFileSync(
    join(folder, 'haproxy.cfg'),
    `global
  maxconn 1000
defaults
  mode http
  timeout client 30s
  timeout http-request 30s
  timeout http-keep-alive 30s
frontend here
  bind 127.0.0.1:${port}
  http-request return status 200 content-type text/plain string "hello"
`,
  );
  await startServer(test, port, 'haproxy', ['-db', '-f', join(folder, 'haproxy.cfg')]);
  return port;
}

/** What redis-server has counted since its start: connections, those of the question included, and calls of one command. */
export async function redisCounters(port: number, command: string): Promise<{ connections: number; calls: number }> {
  const socket = connect(port, '127.0.0.1');
  try {
    let text = '';
    socket.setEncoding('utf8').on('data', (part: string) => {
      text += part;
    });
    const failed = new Promise<never>((_, reject) => socket.once('error', reject));
    // The reply to QUIT comes after the others, and then the server closes the connection.
    const ended = new Promise<void>((resolve) => socket.once('end', resolve));
    socket.write('INFO stats\r\nINFO commandstats\r\nQUIT\r\n');
    await Promise.race([ended, failed]);
    const [, connections] = /^total_connections_received:(\d+)/m.exec(text) ?? [];
    if (connections === undefined) throw new Error(`not the counters of Redis: ${text}`);
    const [, calls = 0] = new RegExp(`^cmdstat_${command}:calls=(\\d+)`, 'm').exec(text) ?? [];
    return { connections: Number(connections), calls: Number(calls) };
  } finally {
    socket.destroy();
  }
}
