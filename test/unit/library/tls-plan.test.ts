/** TLS settings from the options of `blast`: what is planned, and every refusal with its hint. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import t from 'tap';
import { addBlastOptions, blastOptions, type BlastOptions } from '../../../src/library/blast-options.js';
import { planExchange } from '../../../src/library/exchange-plan.js';
import { planTls } from '../../../src/library/tls-plan.js';
import { BenchError } from '../../../src/model/errors.js';
import type { ModeSpec, PlannedTls } from '../../../src/model/plan.js';
import { tlsInWords, tlsSchema } from '../../../src/model/tls.js';
import { tlsProbe } from '../../../src/native/binding.js';
import { encodeTls } from '../../../src/native/encode-tls.js';
import { certificateFile, keyFile } from '../../support/tls-rig.js';

function optionsOf(args: readonly string[]): BlastOptions {
  const command = new Command('blast');
  addBlastOptions(command);
  command.exitOverride().parse([...args], { from: 'user' });
  return blastOptions(command.opts());
}

function planOf(...args: string[]): PlannedTls {
  const tls = planTls(optionsOf(args), []);
  if (tls === null) throw new Error('this is without TLS');
  return tls;
}

const trusted = ['--tls-ca', certificateFile('ca')];
const own = ['--tls-cert', certificateFile('client'), '--tls-key', keyFile('client')];

t.test('without TLS', (test) => {
  test.equal(planTls(optionsOf([]), []), null);
  test.equal(planTls(optionsOf(['--target', 'http://127.0.0.1/']), []), null);
  test.end();
});

t.test('the name that a certificate must be for', (test) => {
  const nameOf = (...args: string[]): unknown => {
    const { serverName, serverNameIsAddress } = planOf(...args, '--tls-insecure');
    return [serverName, serverNameIsAddress];
  };
  test.same(nameOf('--target', 'https://db.example.com/'), ['db.example.com', false]);
  test.same(nameOf('--target', 'db.example.com.:1', '--tls'), ['db.example.com', false], 'without the dot of the root');
  test.same(nameOf('--target', '127.0.0.1:1', '--tls'), ['127.0.0.1', true]);
  test.same(nameOf('--target', 'https://[::1]:1/'), ['::1', true]);
  test.same(nameOf('--target', '[fe80::1%eth0]:1', '--tls'), ['fe80::1', true], 'without the interface');
  test.same(nameOf('--target', '127.0.0.1:1', '--tls', '--tls-server-name', 'a.b'), ['a.b', false]);
  test.end();
});

t.test('what a report and an agent get', (test) => {
  const plain = planOf('--target', 'https://localhost/');
  test.equal(plain.authorities, 'node', "Node's certificates by default");
  test.match(plain.words, { server_name: 'localhost', verified: true, authorities: null, client_certificate: false });
  test.equal(tlsInWords(plain.words), 'over TLS, certificate verified for localhost');
  const insecure = planOf('--target', 'https://localhost/', '--tls-insecure', '--tls-resume', ...own);
  test.equal(
    tlsInWords(insecure.words),
    'over TLS, certificate NOT verified (--tls-insecure), with a client certificate, sessions resumed',
  );
  test.same(tlsSchema.parse(JSON.parse(JSON.stringify(plain))), {
    serverName: 'localhost',
    serverNameIsAddress: false,
    authorities: 'node',
    client: null,
    resume: false,
  });
  test.ok(encodeTls(plain).length > 100_000, "all of Node's certificates");
  test.end();
});

t.test('https:// is port 443, and its requests are those of HTTP', (test) => {
  const options = optionsOf(['--target', 'https://example.com/a']);
  test.match(options.target, { host: 'example.com', port: 443 });
  const exchange = planExchange(options);
  test.match(
    Buffer.from(exchange?.request ?? '', 'base64').toString(),
    /^GET \/a HTTP\/1\.1\r\nHost: example\.com\r\n/,
  );
  test.end();
});

t.test('what does not fit is refused', (test) => {
  const folder = mkdtempSync(join(tmpdir(), 'iocp-bench-tls-'));
  const text = join(folder, 'text.pem');
  const empty = join(folder, 'empty.pem');
  writeFileSync(text, 'nothing\n');
  writeFileSync(empty, '');
  test.teardown(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  const node: ModeSpec = { mode: 'node', backend: 'node', serverMode: 'node', command: null };
  const target = ['--target', '127.0.0.1:1'];
  const cases: readonly [string[], RegExp, ModeSpec[]?][] = [
    [[...target, '--tls-insecure'], /--tls-insecure needs --tls/],
    [[...target, ...trusted], /--tls-ca needs --tls/],
    [[...target, '--tls-resume'], /--tls-resume needs --tls/],
    [['--tls'], /the mode node does not speak TLS/, [node]],
    [['--target', 'http://127.0.0.1:1/', '--tls'], /--tls contradicts a --target that begins with http:/],
    [[...target, '--tls', '--tls-ca', join(folder, 'none.pem')], /--tls-ca: .*none\.pem cannot be read: ENOENT/],
    [[...target, '--tls', '--tls-ca', folder], /cannot be read: EISDIR/],
    [[...target, '--tls', '--tls-ca', empty], /empty\.pem is empty/],
    [[...target, '--tls', '--tls-ca', text], /no certificate in PEM form/],
    [[...target, '--tls', '--tls-insecure', ...trusted], /exclude each other/],
    [[...target, '--tls', '--tls-cert', certificateFile('client')], /--tls-cert needs --tls-key/],
    [[...target, '--tls', '--tls-key', keyFile('client')], /--tls-key needs --tls-cert/],
    [[...target, '--tls', ...own.slice(0, 2), '--tls-key', keyFile('server')], /cannot be used: key values mismatch/],
    [[...target, '--tls', '--tls-cert', text, '--tls-key', keyFile('client')], /the client certificate cannot be used/],
    [[...target, '--tls', '--clients-on', 'a', ...own], /--tls-key cannot be used with --clients-on/],
    [[...target, '--tls', '--tls-resume'], /--tls-resume only applies to connections that are made again/],
    [[...target, '--tls', '--tls-server-name', ''], /not a name of 1 to 255 bytes/],
  ];
  for (const [args, says, servers = []] of cases) {
    try {
      planTls(optionsOf(args), servers);
      test.fail(`${args.join(' ')} was not refused`);
    } catch (error) {
      if (!(error instanceof BenchError)) throw error;
      test.equal(error.code, 'usage', args.join(' '));
      test.not(error.hint, '', 'with a hint');
      test.match(error.message, says);
    }
  }
  test.end();
});

t.test('the OpenSSL of this Node', (test) => {
  test.match(tlsProbe(), { name: 'tls', available: true, reason: '', features: /^OpenSSL 3\./ });
  test.end();
});
