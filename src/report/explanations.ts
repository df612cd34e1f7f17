/**
 * The texts of `explain`, one per mode. Each names the functions of our own servers and the calls in them; test/unit/report/explanation
 * checks every name against the source. Calls such as socket_receive are the portable names of system calls (recv).
 */
import type { ModeName } from '../model/parse.js';
import type { Explanation, Look, Step } from './explanation.js';

const acceptors = 'native/src/server/acceptors.c';
const blocking = 'native/src/server/blocking.c';
const processServer = 'native/src/server/linux/process_server.c';
const pool = 'native/src/server/pool.c';
const loop = 'native/src/server/loop.c';
const select = 'native/src/server/select.c';
const poll = 'native/src/server/poll.c';
const epoll = 'native/src/server/linux/epoll.c';
const epollAccept = 'native/src/server/linux/epoll_accept.c';
const epollConnection = 'native/src/server/linux/epoll_connection.c';
const uring = 'native/src/server/linux/io_uring.c';
const uringAccept = 'native/src/server/linux/io_uring_accept.c';
const uringConnection = 'native/src/server/linux/io_uring_connection.c';
const iocp = 'native/src/server/windows/iocp.c';
const eventSelect = 'native/src/server/windows/event_select.c';
const routine = 'native/src/server/windows/completion_routine.c';
const threadPool = 'native/src/server/windows/thread_pool_io.c';
const iocpWorker = 'native/src/server/windows/iocp_worker.c';
const node = 'src/server/node.ts';

const threads = 'server_threads';
const switches = 'server_context_switches_per_request';
const cpu = 'server_cpu_us_per_request';
const resident = 'resident_bytes_per_connection';
const kernel = 'kernel_bytes_per_connection';
const calls = 'server_system_calls_per_request';
const pageTables = 'page_table_bytes_per_connection';

/** Makes the steps of one part of a connection's life. */
const stepOf =
  (when: Step['when']) =>
  (file: string, name: string, call: string, text: string): Step => ({ when, file, function: name, call, text });
export const atStart = stepOf('start');
export const perConnection = stepOf('connection');
export const perRequest = stepOf('request');
export const atEnd = stepOf('end');

export function look(metric: string, text: string): Look {
  return { metric, text };
}

/** select and poll share everything but the wait. */
const readinessSteps = {
  accept: perConnection(
    loop,
    'loop_listener_ready',
    'socket_accept_ready',
    'The listener is one more socket of the loop. If it is ready, accept returns at once, and the connection goes to the worker with the fewest.',
  ),
  receive: perRequest(
    loop,
    'receive_and_echo',
    'socket_receive',
    'recv on a socket that is ready does not wait. All connections of a worker share one buffer, because only one is served at a time.',
  ),
  send: perRequest(
    loop,
    'send_now',
    'socket_send',
    'send copies the reply into the socket and returns. If a slow peer leaves no room, the rest is kept, and the loop waits until the socket can be written.',
  ),
} as const;

export const explanations: Readonly<Partial<Record<ModeName, Explanation>>> = {
  blocking: {
    title: 'a thread per connection',
    idea: 'Every connection gets a thread of its own, which reads a request, answers it, and reads the next one. A call that has to wait puts its thread to sleep, and the system runs other threads meanwhile. So the code is as simple as a server can be: it serves one connection, from top to bottom.',
    steps: [
      perConnection(
        acceptors,
        'acceptor_main',
        'socket_accept',
        'One thread only accepts. It sleeps in this call until a client has connected. The call then returns a socket: the handle of the new connection.',
      ),
      perConnection(
        blocking,
        'serve',
        'thread_start_detached',
        'A new thread gets the connection. It has a stack of its own (64 KiB of address space by default).',
      ),
      perRequest(
        blocking,
        'connection_echo',
        'socket_receive',
        'The thread asks for bytes. None have come yet, so the kernel puts it to sleep and gives the CPU to another thread. When bytes arrive, it is woken: one context switch (a CPU changes from one thread to another) per request.',
      ),
      perRequest(
        blocking,
        'send_all',
        'socket_send',
        'This copies the reply into the kernel, which transmits it. The thread goes back to recv. That makes two system calls (calls into the kernel) per request, and no other bookkeeping.',
      ),
    ],
    limit:
      'Each connection costs a thread: a stack, memory in the kernel, and a turn on a CPU for each request. Thousands of threads work. The system starts no more at its limits of threads (pids.max, ulimit -u, kernel.threads-max, vm.max_map_count), and further connections are refused.',
    look: [
      look(threads, 'One for each client, besides a few of its own.'),
      look(switches, 'About 1 under load: the thread sleeps in recv before every request.'),
      look(calls, '2: recv and send.'),
      look(
        resident,
        "The used part of the thread's stack, which includes the receive buffer. Idle connections keep it.",
      ),
      look(kernel, "Includes the thread's stack in the kernel (16 KiB) and the sockets of both ends."),
    ],
  },
  process: {
    title: 'a process per connection',
    idea: 'The model of the first Internet servers. A parent accepts and forks; the child has the connection to itself, in an address space of its own. A crash or a leak ends one connection and no other.',
    steps: [
      perConnection(
        processServer,
        'listener_ready',
        'socket_accept',
        'The parent takes a connection. It is one process with one thread, so that fork() is safe.',
      ),
      perConnection(
        processServer,
        'serve',
        'fork()',
        'The kernel copies the parent: descriptors and page tables, not the memory itself. Parent and child share pages until one of them writes.',
      ),
      perRequest(
        processServer,
        'echo',
        'socket_receive',
        'The child sleeps in recv until bytes arrive. The switch to it also changes the address space.',
      ),
      perRequest(
        processServer,
        'send_all',
        'socket_send',
        'send copies the reply into the socket: two system calls per request.',
      ),
      atEnd(
        processServer,
        'children_wait',
        'wait4',
        'A child that has ended is a zombie until its parent waits for it. SIGCHLD may stand for many children, so the parent repeats the call.',
      ),
    ],
    limit:
      'Each connection costs a process: page tables, copies of the pages it writes to, and what a thread costs as well. Connecting is slow, because fork copies page tables. The system ends it at its limits of processes (pids.max, ulimit -u, kernel.pid_max) or memory. Descriptors do not run out.',
    look: [
      look(threads, 'One per process: it grows with the clients.'),
      look('connect_duration_ms', 'Contains a fork for each connection.'),
      look(switches, 'About 1 under load, as with threads.'),
      look(calls, '2: recv and send.'),
      look(resident, 'The proportional set: a page that processes share counts once in the sum.'),
      look(pageTables, 'Every process has its own, which threads share.'),
    ],
  },
  pool: {
    title: 'a fixed number of threads, each serving one connection at a time',
    idea: 'Threads are made once, and their number bounds memory and switching. A thread stays with its connection from the first byte to the last, even while the client says nothing. Other connections wait in a queue.',
    steps: [
      perConnection(acceptors, 'acceptor_main', 'socket_accept', 'One thread accepts, as in `blocking`.'),
      perConnection(
        pool,
        'queue_put',
        'condition_signal',
        'The socket goes into a queue, and one sleeping thread is woken.',
      ),
      perConnection(
        pool,
        'queue_take',
        'condition_wait',
        'A thread of the pool sleeps here until there is a connection. It takes one and leaves the queue to the others.',
      ),
      perRequest(
        pool,
        'connection_echo',
        'socket_receive',
        'It sleeps in recv until bytes arrive: one context switch per request.',
      ),
      perRequest(
        pool,
        'send_all',
        'socket_send',
        'send, and back to recv until the client closes. Only then is the next connection taken.',
      ),
    ],
    limit:
      'As many connections are served as there are threads (--pool-threads, 200 by default). Clients beyond that are connected but get no reply until another one closes. Clients that keep their connections starve the rest. A pool suits short connections, or needs readiness to know which connection has work.',
    look: [
      look('connections_made', 'Those that were served. The others waited in the queue.'),
      look(threads, 'Constant, whatever the number of clients.'),
      look(switches, 'About 1 under load, as with a thread per connection.'),
      look(calls, '2: recv and send.'),
      look(resident, 'Small, because waiting connections have no thread and no stack.'),
    ],
  },
  select: {
    title: 'one loop per CPU around select()',
    idea: 'One thread serves many connections: it asks the kernel which sockets are ready, and then calls recv and send only on those. Nothing blocks but the question. The question is a set of bits, one per descriptor, which the kernel changes; so it is asked anew every time.',
    steps: [
      readinessSteps.accept,
      perRequest(
        select,
        'selecting_main',
        'socket_set_copy',
        'The kernel overwrites the sets with its answer, so the loop copies them before each wait.',
      ),
      perRequest(
        select,
        'selecting_main',
        'socket_select',
        'select() reads the bits of all descriptors, asks every socket in the set, and sleeps if none is ready. This work grows with the number of connections, ready or not.',
      ),
      perRequest(
        select,
        'ready_serve',
        'socket_set_next',
        'The answer is a set again. The loop searches it for the bits that are on.',
      ),
      readinessSteps.receive,
      readinessSteps.send,
    ],
    limit:
      'The cost of a wait is O(n): proportional to all connections, and to the highest descriptor. It is shared by the requests that one wait finds. Under full load there are many, and the cost hides; with few active among many idle connections, it is most of the CPU time. The C library declares sets of 1,024 descriptors (FD_SETSIZE); this server allocates larger ones, which the kernel accepts.',
    look: [
      look(
        cpu,
        'It grows with the number of clients. Compare it with epoll at the same numbers, best at a low rate or with --active.',
      ),
      look(threads, 'Constant: one loop per CPU.'),
      look(switches, 'Near 0 at full load: one wake-up serves every socket that is ready.'),
      look(calls, 'A little over 2: recv and send, and a share of one select.'),
      look(resident, 'Next to nothing: no stack and no buffer per connection.'),
    ],
  },
  poll: {
    title: 'one loop per CPU around poll()',
    idea: 'As select, with a better question: an array of descriptors and what to wait for, which the kernel does not destroy. It has no limit of descriptors, but is still handed over whole at every wait.',
    steps: [
      readinessSteps.accept,
      perRequest(
        poll,
        'polling_main',
        'socket_poll',
        'poll() copies the array into the kernel, asks every socket in it, and sleeps if none is ready. This work grows with the number of connections, ready or not.',
      ),
      perRequest(
        poll,
        'ready_serve',
        'revents == 0',
        'The answer is in the same array. The loop reads the entries until it has found as many ready ones as poll returned.',
      ),
      readinessSteps.receive,
      readinessSteps.send,
    ],
    limit:
      'The cost of a wait is O(n): eight bytes to copy and one socket to ask per connection, idle or not. It is shared by the requests that one wait finds. Under full load there are many, and the cost hides; with few active among many idle connections, it is most of the CPU time.',
    look: [
      look(
        cpu,
        'It grows with the number of clients. Compare it with epoll at the same numbers, best at a low rate or with --active.',
      ),
      look(threads, 'Constant: one loop per CPU.'),
      look(switches, 'Near 0 at full load: one wake-up serves every socket that is ready.'),
      look(calls, 'A little over 2: recv and send, and a share of one poll.'),
      look(resident, 'Next to nothing: eight bytes of the array, no stack and no buffer.'),
    ],
  },
  event_select: {
    title: 'an event object per connection, 62 connections per thread',
    idea: 'The kernel remembers what each socket is waited for, and sets an event object when it happens. A thread waits for many event objects at a time. This is the model of Winsock between select and overlapped calls.',
    steps: [
      atStart(
        eventSelect,
        'listeners_watch',
        'WSAEventSelect',
        'The listeners share one event object. One accept answers each event.',
      ),
      perConnection(
        eventSelect,
        'events_added',
        'WSAEventSelect',
        'A new connection gets an event object of its own, which is set when the socket can be read or written, or is closed.',
      ),
      perRequest(
        eventSelect,
        'events_main',
        'WSAWaitForMultipleEvents',
        'The thread sleeps until one of its events is set. It can wait for 64 at most, and two of them are not connections.',
      ),
      perRequest(
        eventSelect,
        'connection_serve',
        'WSAEnumNetworkEvents',
        'An event does not say what has happened. This call does, and resets the event.',
      ),
      readinessSteps.receive,
      readinessSteps.send,
    ],
    limit:
      'A thread for every 62 connections, at most 2,048 threads: 126,976 connections. Each request also takes a wait and a question of its own.',
    look: [
      look(threads, 'A sixty-second of the connections.'),
      look(switches, 'Grows with the threads: each has few connections, and sleeps often.'),
      look(cpu, 'Four calls for a request: wait, question, recv and send.'),
    ],
  },
  epoll: {
    title: 'one loop per CPU; the kernel keeps track of what is ready',
    idea: 'The question is asked once: each socket is registered with the kernel, which notes when it becomes ready. A wait returns only those that are. Idle connections cost nothing but memory.',
    steps: [
      perConnection(
        epollAccept,
        'connection_hand_out',
        'epoll_ctl',
        'A new connection is registered with the loop of the worker that has the fewest. This is done once, not per request.',
      ),
      perRequest(
        epoll,
        'worker_main',
        'epoll_wait',
        'The thread sleeps until a socket is ready. The kernel has a list of ready sockets and copies it: O(ready), whatever the number of connections.',
      ),
      perRequest(
        epoll,
        'event_handle',
        'epoll_connection_ready',
        'Each event names its socket, so nothing is searched.',
      ),
      perRequest(
        epollConnection,
        'receive_and_echo',
        'recv(',
        'recv on a socket that is ready does not wait. All connections of a worker share one buffer.',
      ),
      perRequest(
        epollConnection,
        'receive_and_echo',
        'send(',
        'send copies the reply. If a slow peer leaves no room, the rest is kept and the loop waits until the socket can be written.',
      ),
    ],
    limit:
      'Descriptors and socket memory: a loop serves hundreds of thousands of connections. Every request still costs two system calls. A handler that blocks or computes for long stops all connections of its loop.',
    look: [
      look(cpu, 'Nearly the same at any number of clients.'),
      look(threads, 'Constant: one loop per CPU.'),
      look(switches, 'Near 0 at full load: one wake-up serves every socket that is ready.'),
      look(calls, 'A little over 2: recv and send, and a share of one epoll_wait.'),
      look(resident, 'Next to nothing: no stack and no buffer per connection.'),
    ],
  },
  completion_routine: {
    title: 'overlapped calls that call back the thread that made them',
    idea: 'The program hands the kernel an operation, a buffer and a procedure. When the operation is done, the kernel runs the procedure on the thread that began it, the next time this thread waits alertably. The procedure begins the next operation.',
    steps: [
      perConnection(acceptors, 'acceptor_main', 'socket_accept', 'A thread of its own waits in accept.'),
      perConnection(
        routine,
        'connection_hand_out',
        'QueueUserAPC',
        'The connection goes to the worker with the fewest, as a procedure call that is queued to its thread.',
      ),
      perRequest(
        routine,
        'operation_begin',
        'WSARecv',
        'The receive is posted with its procedure. Buffer and OVERLAPPED belong to the kernel until the procedure has run.',
      ),
      perRequest(
        routine,
        'worker_sleep',
        'SleepEx',
        'A worker does nothing but wait alertably. In this wait the queued procedures run.',
      ),
      perRequest(
        routine,
        'operation_finished',
        'operation_begin',
        'The procedure runs: the bytes are in the buffer, and the next operation sends them.',
      ),
      perRequest(
        routine,
        'operation_begin',
        'WSASend',
        'The send is posted in the same way. Its procedure posts the next receive.',
      ),
    ],
    limit:
      'The work is bound to the thread that began it: a procedure that waits stops all connections of its thread, and an idle thread cannot help. Each connection holds a buffer.',
    look: [
      look(threads, 'Constant: one worker per CPU, and one that accepts.'),
      look(switches, 'Few at full load: a wait does not return while procedures are queued.'),
      look(resident, 'The buffer of the posted receive.'),
    ],
  },
  iocp: {
    title: 'a completion port and a few threads (on Linux: see io_uring)',
    idea: 'The program does not wait for bytes and then read them. It asks the kernel in advance to receive into a buffer, and goes on. When bytes arrive, the kernel puts them there and adds a packet to a queue: the operation is complete. This queue is the completion port (it has nothing to do with a TCP port). A few threads take packets from it, whatever connection they belong to.',
    steps: [
      atStart(
        iocp,
        'iocp_start',
        'CreateIoCompletionPort',
        'Makes the queue, one for the whole server, and sets how many of its threads may run at a time. The kernel lets another one take a packet only when one of those sleeps.',
      ),
      perConnection(
        iocpWorker,
        'accept_call',
        'accept_ex',
        'Connections are accepted in advance as well: this operation is complete when a client has connected, so that no thread has to wait for clients.',
      ),
      perConnection(
        iocpWorker,
        'socket_adopt',
        'completion_port_join',
        'The new socket joins the port: its completed operations become packets.',
      ),
      perRequest(
        iocpWorker,
        'receive_post',
        'WSARecv',
        'Asks the kernel to receive, before the request has come, and returns at once. The buffer, and the structure that identifies the operation (OVERLAPPED), belong to the kernel until it is complete.',
      ),
      perRequest(
        iocpWorker,
        'iocp_worker_main',
        'GetQueuedCompletionStatusEx',
        "A thread sleeps here until there are packets, and takes up to 64 at a time. If several threads sleep, the one that fell asleep last is woken: its data is likely still in the CPU's cache.",
      ),
      perRequest(
        iocpWorker,
        'send_post',
        'WSASend',
        'The packet of the receive says that the bytes are in the buffer, and the same buffer is sent. That usually completes at once, and the next receive is posted.',
      ),
    ],
    limit:
      'Memory: the kernel locks the buffer of each pending receive, for idle connections too (--zero-byte-recv avoids that). Threads and context switches do not grow with the number of connections.',
    look: [
      look(threads, 'Constant: one worker per CPU.'),
      look(switches, 'Near 0 at full load: packets are taken in batches.'),
      look(calls, 'A little over 2: WSARecv and WSASend, and a share of one GetQueuedCompletionStatusEx.'),
      look(resident, 'The buffer of the posted receive.'),
      look('nonpaged_pool_bytes_per_connection', 'Sockets and pending operations.'),
    ],
  },
  thread_pool_io: {
    title: "a completion port with the system's own threads",
    idea: 'As iocp, but Windows keeps the port and its threads. The program binds each socket to a callback and begins operations. A thread of the pool runs the callback when one is done.',
    steps: [
      perConnection(acceptors, 'acceptor_main', 'socket_accept', 'A thread of its own waits in accept.'),
      perConnection(
        threadPool,
        'connection_start',
        'CreateThreadpoolIo',
        'The socket is bound to the callback, and so to the port of the pool.',
      ),
      perRequest(
        threadPool,
        'operation_begin',
        'StartThreadpoolIo',
        'The pool has to know of each operation before it begins, so that it expects the callback.',
      ),
      perRequest(threadPool, 'operation_begin', 'WSARecv', 'The receive is posted. The call returns at once.'),
      perRequest(
        threadPool,
        'operation_done',
        'connection_go_on',
        'A thread of the pool runs the callback: the bytes are in the buffer, and the next operation sends them.',
      ),
      perRequest(
        threadPool,
        'operation_begin',
        'WSASend',
        'The send usually completes at once, and the next receive follows.',
      ),
    ],
    limit:
      'As iocp: memory that the kernel locks for each pending receive. The program cannot take several completions in one call, and cannot choose the thread.',
    look: [
      look(threads, 'Constant: one per CPU, and one that accepts.'),
      look(cpu, 'Compare it with iocp: the difference is the price of what the system does for the program.'),
      look(resident, 'The buffer of the posted receive.'),
    ],
  },
  io_uring: {
    title: 'one ring of operations per CPU, shared with the kernel',
    idea: 'The completion model of Linux. The program writes operations ("receive on this socket", "send this") into one ring and reads results from another. One system call hands over all new operations and waits for results; most requests need no call of their own.',
    steps: [
      atStart(
        uringAccept,
        'accept_post',
        'URING_ACCEPT_MULTISHOT',
        'One accept operation stays posted and gives a result for every new connection.',
      ),
      perConnection(
        uringConnection,
        'receive_post',
        'URING_RECV_MULTISHOT',
        'One receive operation per connection stays posted, too. It has no buffer: the kernel takes one from a ring of buffers when bytes arrive, so that idle connections hold none.',
      ),
      perRequest(
        uring,
        'worker_wait',
        'ring_enter',
        'The only system call: it submits the operations written since the last one, and sleeps until there is a result.',
      ),
      perRequest(
        uring,
        'batch_handle',
        'ring_cqe',
        'The results of many connections are read from memory, without a call.',
      ),
      perRequest(
        uringConnection,
        'uring_connection_received',
        'unsent_push',
        'The bytes are there already, in a buffer of the ring of buffers.',
      ),
      perRequest(
        uringConnection,
        'send_post',
        'URING_OP_SEND',
        'The same buffer is sent: the operation is only written down, and goes out with the next ring_enter.',
      ),
    ],
    limit:
      'Needs Linux 6.0, and many containers block it (doctor says so). Sockets are in a table of the ring, so descriptors do not run out, but the table has at most as many places as the limit of descriptors.',
    look: [
      look(calls, 'Far below 1 at full load: one call serves a batch of requests.'),
      look(cpu, 'The lowest of the models under load, because the calls are shared.'),
      look(threads, 'Constant: one ring per CPU.'),
      look(switches, 'Near 0 at full load.'),
      look(resident, 'Next to nothing: buffers are shared by all connections of a ring.'),
    ],
  },
  node: {
    title: "Node's own net server: one event loop in JavaScript",
    idea: 'Callbacks in JavaScript over libuv, which waits with epoll on Linux and with a completion port on Windows. One thread does everything, and each event goes through C++ and JavaScript.',
    steps: [
      atStart(node, 'start', 'createServer', 'libuv registers the listening socket with its loop.'),
      perRequest(
        node,
        'serve',
        "socket.on('data'",
        'When a socket is ready, libuv reads it into a new buffer and calls this function.',
      ),
      perRequest(
        node,
        'send',
        'socket.write',
        'libuv tries to send at once. If not all can be sent, it keeps the rest and calls "drain" later.',
      ),
      perRequest(
        node,
        'send',
        'socket.pause',
        'A peer that does not read is not read from either, so that memory stays bounded.',
      ),
    ],
    limit:
      'One CPU: the loop runs on one thread. Objects, buffers and callbacks per event cost several times the CPU of the C servers, and the garbage collector adds pauses to the tail of the response times.',
    look: [
      look(cpu, 'Mostly in user mode: JavaScript and libuv, not the kernel.'),
      look('server_cpu_user_us_per_request', 'Compare it with epoll, which makes the same system calls.'),
      look('response_time_p99', 'Pauses of the garbage collector are in it.'),
      look(threads, 'Constant. Most of them belong to Node and do not serve.'),
      look(resident, 'A socket object and its buffers in the JavaScript heap.'),
    ],
  },
};
