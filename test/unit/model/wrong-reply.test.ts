import t from 'tap';
import {
  describeForeign,
  describeReply,
  replyLooksLike,
  shownBytes,
  silenceLooksLike,
} from '../../../src/model/wrong-reply.js';
import { payloadBytes } from '../../../src/native/binding.js';

/** The message that a connection sends first. */
function message(connection: number, size = 64): Uint8Array {
  return payloadBytes(size, { seed: 1n, connection: BigInt(connection), offset: 0n, message_size_bytes: size });
}

function bytes(text: string): Uint8Array {
  return Buffer.from(text, 'latin1');
}

t.test('a server is recognised by its protocol', (t) => {
  const replies: Readonly<Record<string, RegExp>> = {
    'HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n': /an HTTP server/,
    '<html>\r\n<head><title>400 Bad Request</title></head>': /an HTTP server/,
    '\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80': /HTTP\/2/,
    '\x15\x03\x01\0\x02\x02\x46': /a TLS server \(it sent alert 70, protocol_version\)/,
    '\x15\x03\x03\0\x02\x02\x0a': /a TLS server \(it sent alert 10, unexpected_message\)/,
    '\x16\x03\x03\0\x7a\x02\0\0\x76': /a TLS server$/,
    'SSH-2.0-OpenSSH_9.6\r\n': /an SSH server/,
    '220 mail.example.com ESMTP Postfix\r\n': /an SMTP server/,
    '220 (vsFTPd 3.0.5)\r\n': /an FTP server/,
    '554 5.7.1 no access\r\n': /as mail and FTP servers do/,
    '-ERR unknown command\r\n': /a Redis server/,
    '-DENIED Redis is running in protected mode': /a Redis server/,
    '+OK Dovecot ready.\r\n': /a POP3 server/,
    '* OK [CAPABILITY IMAP4rev1] ready\r\n': /an IMAP server/,
    'ERROR\r\n': /a memcached server/,
    'J\0\0\0\x0a8.0.36\0': /a MySQL server/,
    'RFB 003.008\n': /a VNC server/,
    'AMQP\0\0\x09\x01': /an AMQP server/,
    '\xff\xfd\x18\xff\xfd\x20': /a telnet server/,
  };
  for (const [text, name] of Object.entries(replies)) {
    const reply = { received: bytes(text), expected: message(3) };
    t.match(replyLooksLike(reply), name, JSON.stringify(text));
    t.match(replyLooksLike({ ...reply, expected: new Uint8Array() }), name, 'also if no request was in flight');
  }
  t.end();
});

t.test('what to do about another protocol depends on the one that the client speaks', (t) => {
  const greeting = bytes('220 mail.example.com ESMTP Postfix\r\n');
  t.match(
    describeForeign(greeting, 'http'),
    /an SMTP server; it speaks first: use --protocol message with --greeting-until$/,
  );
  t.match(describeForeign(greeting, 'message'), /an SMTP server; it speaks first: add --greeting-until$/);
  const web = bytes('HTTP/1.1 400 Bad Request\r\n\r\n');
  t.match(describeForeign(web, 'message'), /an HTTP server; use --protocol http, or .*https:\/\//);
  t.match(describeForeign(web, 'http'), /^; received "HTTP[^:]*$/, 'it is the protocol that was spoken');
  t.equal(describeForeign(new Uint8Array(), 'http'), '');
  t.end();
});

t.test('an echo server is recognised by its changes to the bytes', (t) => {
  const sent = Buffer.from(message(7));
  const text = sent.toString('latin1');
  const cases: readonly (readonly [Uint8Array, RegExp])[] = [
    [Buffer.concat([bytes('echo: '), sent]).subarray(0, 64), /adds "echo: " before each message/],
    [Buffer.concat([bytes('\0\0\0\x40'), sent]).subarray(0, 64), /adds 0x 00 00 00 40 before each message/],
    [bytes(text.replace(/[a-z]/g, (letter) => letter.toUpperCase())), /upper case/],
    [Buffer.from(sent.toString('utf8'), 'utf8'), /decodes bytes as UTF-8/],
    [Buffer.from(text, 'utf8').subarray(0, 64), /encodes bytes as UTF-8/],
    [Buffer.from(sent).reverse(), /reverse order/],
  ];
  for (const [received, what] of cases) t.match(replyLooksLike({ received, expected: sent }), what, String(what));
  t.match(replyLooksLike({ received: bytes('\n'), expected: new Uint8Array() }), /sends more than the echo/);
  t.end();
});

t.test('our own messages look like no other protocol', (t) => {
  for (let connection = 0; connection < 70_000; connection += connection < 2_000 ? 1 : 13) {
    const sent = message(connection);
    const broken = Uint8Array.from(sent);
    broken[connection % 64] = (broken[connection % 64] ?? 0) ^ (1 << (connection % 8));
    if (describeReply({ received: broken, expected: sent }) !== '') t.fail(`${connection}: one flipped bit has a look`);
    const other = message(connection + 1);
    if (replyLooksLike({ received: other, expected: sent }) !== null) t.fail(`${connection}: so has another message`);
    const prefixed = Buffer.concat([bytes('> '), sent]).subarray(0, 64);
    if (replyLooksLike({ received: prefixed, expected: sent }) === null) t.fail(`${connection}: no prefix is seen`);
  }
  t.pass('a corrupted byte is not mistaken for a change by the server, and a prefix is found');
  t.end();
});

t.test('bytes are shown as text if they are text', (t) => {
  t.equal(shownBytes(bytes('a"b\\c\t\r\n\x1b')), String.raw`"a\"b\\c\t\r\n\x1b"`);
  t.equal(shownBytes(bytes('x'.repeat(49))), `"${'x'.repeat(48)}"...`);
  t.equal(shownBytes(Uint8Array.of(0, 1, 0xff)), '0x 00 01 ff');
  t.equal(shownBytes(new Uint8Array(17)), `0x${' 00'.repeat(16)} ...`);
  const greeted = Uint8Array.of(...bytes('220 ready\r\n'), ...new Uint8Array(64));
  t.equal(shownBytes(greeted), String.raw`"220 ready\r\n"...`, 'a first line of text before other bytes');
  t.match(
    describeReply({ received: bytes('Welcome!\r\n'), expected: message(3) }),
    /^; received "Welcome!\\r\\n"$/,
    'also where it is not recognised',
  );
  t.end();
});

t.test('a server is recognised by where its replies stop', (t) => {
  const none = { timeouts_at_newline: 0, timeouts_off_newline: 0, timeouts_at_zero: 0, timeouts_off_zero: 0 };
  t.equal(silenceLooksLike(none), null);
  t.match(silenceLooksLike({ ...none, timeouts_at_newline: 3, timeouts_off_zero: 3 }), /whole lines/);
  t.match(silenceLooksLike({ ...none, timeouts_at_zero: 3, timeouts_off_newline: 3 }), /C string/);
  t.equal(silenceLooksLike({ ...none, timeouts_at_newline: 3, timeouts_off_newline: 1 }), null);
  t.equal(silenceLooksLike({ ...none, timeouts_at_zero: 3, timeouts_off_zero: 1 }), null);
  t.end();
});
