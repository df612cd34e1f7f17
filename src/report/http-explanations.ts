/**
 * The texts of `explain --protocol http`: what happens between receiving and sending. All modes in C share that code. The same test as for
 * explanations.ts checks every name against the source.
 */
import type { ModeName } from '../model/parse.js';
import type { Explanation } from './explanation.js';
import { atEnd, atStart, look, perConnection, perRequest } from './explanations.js';

const service = 'native/src/server/service.c';
const answer = 'native/src/server/http_answer.c';
const request = 'native/src/server/http_request.c';
const nodeHttp = 'src/server/node-http.ts';

const ofAllInC: Explanation = {
  title: 'parsed requests, and replies that are ready',
  idea: 'Connections are accepted, waited for and read as for an echo. Then the bytes are parsed, and each request that is whole gets the same reply. All modes in C share this code, so a comparison of modes is still one of their I/O.',
  steps: [
    atStart(
      service,
      'service_prepare',
      'http_replies_make',
      'Every possible reply is written once, as often in a row as fits into 64 KiB. All connections send from this memory.',
    ),
    perRequest(
      service,
      'http_step',
      'http_answer_take',
      'This gets the bytes that the mode has received. All requests in them are answered together; with --work and --wait one by one.',
    ),
    perRequest(
      answer,
      'http_answer_take',
      'http_parse',
      'The parser stops at the end of a request. Bytes behind it belong to the next one (pipelining).',
    ),
    perRequest(
      request,
      'http_parse',
      'header_parse_bounded',
      'A state machine reads request line and fields, in whatever pieces they come. It keeps no bytes. A header above 16 KiB gets 431.',
    ),
    perRequest(
      request,
      'http_parse',
      'body_parse',
      'A body is skipped, by its Content-Length or chunk by chunk. What is not a request by RFC 9112 gets 400.',
    ),
    perRequest(
      answer,
      'http_answer_take',
      'run_add',
      'Counts the reply that is due. Its bytes are not copied, so a client that does not read costs no memory.',
    ),
    perRequest(
      service,
      'http_step',
      'http_answer_next',
      'Finds the bytes of all replies that are due, for one send of the mode.',
    ),
    perRequest(
      service,
      'http_step',
      'SERVICE_END',
      'After "Connection: close", HTTP/1.0 without keep-alive, 400 and 431 the mode ends the connection.',
    ),
  ],
  limit:
    'Every request gets 200 and the same body (--body-size), whatever its method and path. There are no files and no TLS, and idle connections stay open. An application does more for a request, so its models differ less; --work and --wait stand for that.',
  look: [
    look('server_system_calls_per_request', 'As for an echo; fewer with --pipeline.'),
    look('server_cpu_us_per_request', 'The echo of the mode, and parsing.'),
    look('bytes_per_second', 'Of the replies, header and body.'),
  ],
};

const ofNode: Explanation = {
  title: "Node's own http server in JavaScript",
  idea: 'What a JavaScript developer would write. Node parses requests with its own parser in C (llhttp), and makes two objects for each: the request and the response.',
  steps: [
    atStart(
      nodeHttp,
      'makeServer',
      'createServer',
      'Time limits for idle connections and slow requests are off, as in the other modes.',
    ),
    perConnection(
      nodeHttp,
      'opened',
      'this.connections.set',
      'Each connection has its entry, to count what is not answered yet.',
    ),
    perRequest(
      nodeHttp,
      'answer',
      "request.once('end'",
      'Called when the header has been parsed. A request with a body is served at the end of it; others at once.',
    ),
    perRequest(
      nodeHttp,
      'reply',
      'response.writeHead',
      'The header of each reply is put together anew. Node adds Date and Connection, so replies are longer than those of the other modes.',
    ),
    perRequest(
      nodeHttp,
      'reply',
      'response.end',
      'Hands over the body, which all replies share. libuv tries to send at once.',
    ),
    perRequest(
      nodeHttp,
      'clientFailed',
      'this.reject',
      "What Node's parser refuses gets 400; a header above 16 KiB gets 431. Both end the connection.",
    ),
    atEnd(
      nodeHttp,
      'opened',
      'countClosed',
      'Node ends a connection after "Connection: close", and after HTTP/1.0 without keep-alive.',
    ),
  ],
  limit:
    'One CPU, as in `explain node`, and several times the work of the echo: parsing, objects, header. Which requests are malformed is decided by Node, and differs a little from the other modes.',
  look: [
    look('server_cpu_user_us_per_request', 'Parsing, objects and headers are in it.'),
    look('bytes_per_second', 'Of the replies, which are longer than those of the other modes.'),
    look('response_time_p99', 'Pauses of the garbage collector are in it.'),
  ],
};

/** How a mode of ours serves a request over HTTP. */
export function httpExplanationOf(mode: ModeName): Explanation {
  return mode === 'node' ? ofNode : ofAllInC;
}
