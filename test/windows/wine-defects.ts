/**
 * Differences of Wine from Windows that affect our checks. Each entry gives the evidence that it is a defect of Wine, and the
 * affected check. That check stays strict on Windows; tests are only relaxed by relaxedBy(). Found with Wine 8.0 (Debian 12).
 */
import { isWine } from '../support/environment.js';

interface WineDefect {
  readonly name: string;
  readonly what: string;
  readonly evidence: string;
  readonly touches: readonly string[];
}

export const wineDefects = [
  {
    name: 'reset-read-as-end',
    what: 'A connection that the peer has reset ends with recv() = 0, as if it had been closed in order, instead of WSAECONNRESET.',
    evidence:
      'A Winsock client connects to a plain Python server on Linux, which fills the connection and closes it with SO_LINGER 0. ' +
      'A Python client in its place gets ECONNRESET; the Winsock one reads 128,512 bytes and then recv() returns 0, with WSAPoll() ' +
      '(revents 3: POLLERR | POLLHUP) before it and without. The same server program under Wine does send the RST (a Python client ' +
      'sees ECONNRESET), so it is the reading side. Cause: wineserver takes SO_ERROR off the socket when it sees POLLERR.',
    touches: ['driver: stop-deadline (that the client sees a reset; that it is cut off is checked all the same)'],
  },
  {
    name: 'handles-not-counted',
    what: 'GetProcessHandleCount() says 0, and HandleCount of NtQuerySystemInformation(SystemProcessInformation) is the size of the table.',
    evidence:
      'A process with 2,000 open sockets: GetProcessHandleCount() gives 0. HandleCount reads 32, then 64, 128 and 512 as the driver opens ' +
      'sockets, and stays there when all are closed: powers of two that never fall.',
    touches: [
      'server_test: descriptors of a process are unknown under Wine, and known on Windows',
      'driver: handles left open are found by the lowest free handle number instead of by the count',
    ],
  },
  {
    name: 'context-switches-zero',
    what: 'ContextSwitches of every thread is 0 in NtQuerySystemInformation(SystemProcessInformation).',
    evidence:
      'The sum over a process that has just served a thousand requests is 0; every thread that runs was switched to at least once.',
    touches: ['context switches per request: null under Wine'],
  },
  {
    name: 'nonpaged-pool-zero',
    what: 'QuotaNonPagedPoolUsage of GetProcessMemoryInfo() is 0.',
    evidence: 'It is 0 in a process with 2,000 open sockets, each of which costs non-paged pool on Windows.',
    touches: ['non-paged pool of a process: null under Wine'],
  },
  {
    name: 'port-owner-zero',
    what: 'GetExtendedTcpTable() names process 0 as the owner of every listening socket, and taskkill knows no /T.',
    evidence:
      'A process that listens finds its own port in the table with owner 0, and so it is for a port of its child. `taskkill /T` ends ' +
      'with an error.',
    touches: [
      'the process that listens for a command: not to be seen under Wine; a wrapped command is not started there',
    ],
  },
  {
    name: 'no-netsh',
    what: 'netsh.exe prints nothing, so that the range of dynamic ports cannot be read.',
    evidence:
      '`netsh interface ipv4 show dynamicport tcp` ends with code 0 and no output; on Windows it names the first port and their number.',
    touches: ['the range of ports in limits: null under Wine, and a run is not refused for it'],
  },
  {
    name: 'no-wait-completion-packet',
    what: 'ntdll has no NtCreateWaitCompletionPacket (Windows 8).',
    evidence: 'GetProcAddress() of it is NULL.',
    touches: ['the client engine waits with an APC timer under Wine ("apc-timer" in its features)'],
  },
  {
    name: 'taskkill-no-tree',
    what: 'taskkill.exe knows no /T, which ends a process with all its children.',
    evidence:
      '`taskkill /pid N /T /F` exits with 1: "Unknown or invalid command line option specified. Usage: taskkill [/?] [/f] [/im ...".',
    touches: ["a command of the user's own as a mode: its root alone is ended under Wine"],
  },
  {
    name: 'pipe-as-stdout',
    what: 'node.exe cannot have a pipe or socket of Linux as its standard output: "open EBADF" at the first use of process.stdout.',
    evidence:
      '`wine64 node.exe -p 1 | cat` fails so, `wine64 node.exe -p 1 > file` does not. Pipes between programs under Wine work.',
    touches: ['the runner of this folder reads the output of Windows programs from files'],
  },
  {
    name: 'links-not-seen',
    what: 'A symbolic link of Linux is shown as what it points at, so that realpath() keeps the path of the link.',
    evidence:
      "With node_modules/@tapjs/test/test-built/node_modules/@tapjs/core a link to node_modules/@tapjs/core, as tap's own runner makes it, " +
      "node.exe loads that module twice (\"Cannot access 'Test' before initialization\"); Linux' node loads it once.",
    touches: ['the set-up refuses such a node_modules, and asks for `npm ci`'],
  },
  {
    name: 'port-concurrency',
    what: 'A completion port ignores its concurrency value: every thread that waits at it gets a packet at once.',
    evidence:
      'Two packets are at a port of concurrency 1. Two threads that take one each and run for 150 ms without sleeping do so at the same time ' +
      '(native/test/windows/completion_port_test.c prints it).',
    touches: [
      'completion_port_test: that a second thread has to wait while the first one runs (that it gets a packet while the first one sleeps is checked all the same)',
    ],
  },
  {
    name: 'ctrl-c-exit-zero',
    what: 'A program that Ctrl-C ends, since it does not handle it, has the exit code 0 instead of STATUS_CONTROL_C_EXIT (0xC000013A).',
    evidence:
      'A C program that only sleeps and would return 7: GenerateConsoleCtrlEvent() ends it with code 0. Cause: default_ctrl_handler() of ' +
      "Wine's kernelbase calls RtlExitUserProcess(0); later versions give STATUS_CONTROL_C_EXIT there.",
    touches: ['windows.test: the exit code of a second Ctrl-C (that it ends the program is checked all the same)'],
  },
] as const satisfies readonly WineDefect[];

/** Whether the check may be relaxed: the tests run under Wine, and the defect is in the list. */
export function relaxedBy(name: (typeof wineDefects)[number]['name']): boolean {
  return isWine && wineDefects.some((defect) => defect.name === name);
}
