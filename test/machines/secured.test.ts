/** The worked configuration of a broker with TLS and rights: fixtures/nats/server.conf. */
import { execFileSync } from 'node:child_process';
import { connect as connectNats } from '@nats-io/transport-node';
import { copyFileSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { encodeMessage, speaks, subjects } from '../../src/agent/protocol.js';
import { checkMessage, checkNothingLeft, makePlace, run, shortBlast } from '../support/cli.js';
import { root, skipWithout } from '../support/environment.js';
import { startAgent, startNats, skipWithoutNats } from '../support/nats.js';
import { checkHealthyRun, parseReport, runOf } from '../support/report.js';
import { within } from '../support/wait.js';

t.setTimeout(300_000);
const skip = skipWithoutNats === false ? skipWithout('openssl') : skipWithoutNats;

/** A certificate for 127.0.0.1 that signs itself. */
function makeCertificate(folder: string): void {
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
  const files = ['-keyout', join(folder, 'server-key.pem'), '-out', join(folder, 'server-cert.pem')];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', ...subject, ...files], {
    stdio: 'ignore',
  });
}

t.test('TLS, and users with the rights they need', { skip }, async (test) => {
  const place = makePlace(test);
  const folder = join(place.folder, 'broker');
  mkdirSync(folder);
  makeCertificate(folder);
  copyFileSync(join(root, 'fixtures', 'nats', 'server.conf'), join(folder, 'server.conf'));
  const passwords = { CONDUCTOR_PASSWORD: 'conduct', AGENT_PASSWORD: 'act' };
  const broker = await startNats(test, ['-c', 'server.conf'], { cwd: folder, env: passwords });
  const certificate = join(folder, 'server-cert.pem');
  const env = { NODE_EXTRA_CA_CERTS: certificate };
  const url = (user: string, password: string): string => `tls://${user}:${password}@127.0.0.1:${broker.port}`;

  const agents = await Promise.all(
    ['srv', 'one'].map((name) => startAgent(test, place, url('agent', 'act'), name, [], { env })),
  );
  const load = ['--modes', 'epoll', '--clients', '20', '--phases', 'capacity', '--json', '-'];
  for (const clients of ['one', 'here']) {
    const machines = ['--nats', url('conductor', 'conduct'), '--server-on', 'srv', '--clients-on', clients];
    const outcome = await run(place, shortBlast(...machines, ...load), { env });
    test.equal(outcome.code, 0, outcome.stderr);
    const report = parseReport(test, outcome.stdout);
    checkHealthyRun(test, runOf(report, 'epoll', 20));
    test.notMatch(outcome.stdout, /conduct["@]/, 'the password is not in the report');
  }

  const stranger = await run(place, ['agents', '--nats', url('agent', 'guess')], { env });
  checkMessage(test, stranger, { code: 3, says: [/refuses these credentials/] });
  const unknownAuthority = await run(place, ['agents', '--nats', url('agent', 'act')]);
  checkMessage(test, unknownAuthority, { code: 3, says: [/no TLS connection/, /NODE_EXTRA_CA_CERTS/] });

  const tls = { ca: readFileSync(certificate, 'utf8') };
  const asAgent = await connectNats({ servers: `127.0.0.1:${broker.port}`, tls, user: 'agent', pass: 'act' });
  test.teardown(() => asAgent.close());
  const hold = encodeMessage({ speaks, id: 'x', run: 'run', body: { type: 'hold', conductor: 'an agent' } });
  await test.rejects(
    asAgent.request(subjects.agent('default', 'srv'), hold, { timeout: 2_000 }),
    'an agent cannot start a run on another',
  );
  const peer = await asAgent.request(subjects.peer('default', 'srv'), hold, { timeout: 20_000 });
  test.match(peer.string(), /only accepted from a conductor/, 'not by the other subject either');
  for (const agent of agents) agent.child.kill('SIGINT');
  for (const agent of agents) await within(agent.finished, 'the end of an agent');
  await checkNothingLeft(test, place, ['broker']);
});
