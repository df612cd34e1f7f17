/** What the README says about starting agents. Its systemd unit and its loop over ssh are taken from there and run. */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { checkNothingLeft, leftProcesses, makePlace, run, type Place } from '../support/cli.js';
import { cliPath, findProgram, freePort, isRoot, root, skipOutsideLinux } from '../support/environment.js';
import { accepts, startNats, skipWithoutNats } from '../support/nats.js';
import { until, within } from '../support/wait.js';

t.setTimeout(300_000);
const skip = skipWithoutNats === false ? skipOutsideLinux('systemd') : skipWithoutNats;

const readme = readFileSync(join(root, 'README.md'), 'utf8');
/** What stands in the README for the broker and for this machine. */
const example = { url: 'nats://10.0.0.5:4222', address: '10.0.0.7' };

/** Lines of a block of the README, from one to the other. */
function block(first: string, last: string): string {
  const lines = readme.split('\n');
  const start = lines.indexOf(first);
  const end = lines.findIndex((line, index) => index >= start && line.startsWith(last));
  if (start < 0 || end < 0) throw new Error(`the README has no lines from "${first}" to "${last}"`);
  return lines.slice(start, end + 1).join('\n');
}

/** An executable that is this tool. */
function makeTool(place: Place): string {
  const path = join(place.folder, 'tool');
  writeFileSync(path, `#!/bin/sh\nexec '${process.execPath}' '${cliPath}' "$@"\n`, { mode: 0o755 });
  return path;
}

async function agentsOf(place: Place, url: string): Promise<{ name: string; address: string }[]> {
  const { code, stdout } = await run(place, ['agents', '--nats', url, '--json']);
  if (code !== 0) return [];
  const lines = stdout.trim().split('\n');
  return lines.map((line) => JSON.parse(line) as { name: string; address: string });
}

async function endAgents(test: Test, place: Place, files: string[]): Promise<void> {
  for (const line of leftProcesses(place)) {
    try {
      process.kill(Number(line.split(' ')[0]), 'SIGTERM');
    } catch {
      // A shell ends with the agent that it waited for.
    }
  }
  await checkNothingLeft(test, place, files);
}

t.test('the systemd unit', { skip }, async (test) => {
  const place = makePlace(test);
  const broker = await startNats(test);
  const unit = block('[Unit]', 'WantedBy=')
    .replace('/usr/local/bin/iocp-bench', makeTool(place))
    .replace(example.url, broker.url)
    .replace(example.address, '127.0.0.1');
  const path = join(place.folder, 'iocp-bench-agent.service');
  writeFileSync(path, unit);
  if (findProgram('systemd-analyze') === null) test.comment('systemd-analyze is not installed');
  else
    test.equal(execFileSync('systemd-analyze', ['verify', path], { encoding: 'utf8', stdio: 'pipe' }), '', 'is valid');

  const [, command = ''] = /^ExecStart=(.+)$/m.exec(unit) ?? [];
  const agent = spawn('sh', ['-c', `exec ${command}`], { cwd: place.folder, env: place.env, stdio: 'ignore' });
  test.teardown(() => agent.kill('SIGKILL'));
  const ended = new Promise<number | null>((resolve) => agent.once('exit', resolve));
  test.ok(await until(async () => (await agentsOf(place, broker.url)).length === 1), 'its command is an agent');
  test.match(await agentsOf(place, broker.url), [{ address: '127.0.0.1' }]);
  // As systemd stops a service.
  agent.kill('SIGTERM');
  test.ok([0, 143].includes((await within(ended, 'the end of the agent')) ?? -1), 'a stop is not a failure');
  await checkNothingLeft(test, place, ['iocp-bench-agent.service', 'tool']);
});

const sshd = findProgram('sshd') ?? (existsSync('/usr/sbin/sshd') ? '/usr/sbin/sshd' : null);
const missing = ['ssh', 'ssh-keygen'].filter((name) => findProgram(name) === null);
const skipSsh = skip !== false ? skip : sshd === null || missing.length > 0 ? 'OpenSSH is not installed' : false;

/** A server of ssh on a port of its own, for the user of this test. @returns the folder of a client's configuration */
async function startSshd(test: Test, place: Place, hosts: readonly string[]): Promise<string> {
  const folder = join(place.folder, 'ssh');
  mkdirSync(folder, { mode: 0o700 });
  for (const name of ['host', 'user']) {
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, name)]);
  }
  const port = await freePort();
  const server = [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${join(folder, 'host')}`,
    `AuthorizedKeysFile ${join(folder, 'user.pub')}`,
    'PidFile none',
    'UsePAM no',
    'StrictModes no',
    'PermitRootLogin prohibit-password',
    `SetEnv IOCP_BENCH_TEST_MARKER=${place.marker}`,
  ];
  const client = [
    `Host ${hosts.join(' ')}`,
    'HostName 127.0.0.1',
    `Port ${port}`,
    `User ${userInfo().username}`,
    `IdentityFile ${join(folder, 'user')}`,
    'IdentitiesOnly yes',
    'StrictHostKeyChecking no',
    'UserKnownHostsFile /dev/null',
    'LogLevel ERROR',
  ];
  writeFileSync(join(folder, 'sshd_config'), `${server.join('\n')}\n`);
  writeFileSync(join(folder, 'config'), `${client.join('\n')}\n`);
  // Started by root, it wants this empty folder.
  if (isRoot && !existsSync('/run/sshd')) {
    mkdirSync('/run/sshd', { mode: 0o755 });
    test.teardown(() => {
      rmdirSync('/run/sshd');
    });
  }
  const child = spawn(sshd ?? '', ['-D', '-e', '-f', join(folder, 'sshd_config')], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  test.teardown(() => child.kill('SIGKILL'));
  if (!(await until(() => accepts(port)))) throw new Error(`sshd did not start: ${log}`);
  return folder;
}

t.test('the loop over ssh', { skip: skipSsh }, async (test) => {
  const place = makePlace(test);
  const broker = await startNats(test);
  const folder = await startSshd(test, place, ['a', 'b', 'c']);
  const loop = block('for host in a b c; do', 'done');
  const script = loop
    .replace('iocp-bench', makeTool(place))
    .replaceAll('ssh "$host"', `ssh -F '${join(folder, 'config')}' "$host"`)
    .replaceAll('agent.log', join(folder, 'agent-$host.log'))
    .replaceAll(example.url, broker.url);
  const shell = spawn('bash', ['-c', script], { cwd: place.folder, env: place.env, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [shell.stdout, shell.stderr]) stream.on('data', (bytes: Buffer) => (said += bytes.toString()));
  test.teardown(() => shell.kill('SIGKILL'));
  const code = await within(new Promise<number | null>((resolve) => shell.once('close', resolve)), 'the loop', 60_000);
  test.equal(code, 0, 'the loop ends and leaves the agents running');
  test.equal(said, '');
  const names = async (): Promise<string[]> => (await agentsOf(place, broker.url)).map(({ name }) => name).sort();
  test.ok(await until(async () => (await names()).length === 3), 'three agents have joined');
  test.strictSame(await names(), ['a', 'b', 'c'], 'by the names of their hosts');
  await endAgents(test, place, ['ssh', 'tool']);
});
