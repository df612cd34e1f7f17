/*
 * process_server.c - the program of the mode `process`: a process per connection.
 *
 * Technique. The model of the first Internet servers (inetd; Stevens, UNIX Network Programming, chapter 30: "concurrent server, one
 * child per client"). One process accepts and forks. Each child echoes on one connection with blocking recv and send, and exits. The parent
 * waits for the children that have ended. This is a program of its own and not a part of the library: fork() copies the whole address space, and
 * in a process with threads the child may call only functions that are safe in a signal handler.
 *
 * Floor: Linux 2.6.28 (accept4, signalfd).
 *
 * Limits are a part of the model: if no process can be started, the connection is closed and counted as refused. A process needs a process
 * id, a task of the kernel, and page tables: pids.max of the control group, ulimit -u, kernel.pid_max, kernel.threads-max, memory.
 * Descriptors are not a limit: each process has one connection.
 *
 * Traps
 *   - A child that nobody waits for stays a zombie. SIGCHLD is not queued: one signal may stand for many children, so wait4() is repeated
 *     until it finds none.
 *   - The child inherits every descriptor. With a copy of a listener it would keep the port open, so it closes all but its own connection. The
 *     parent closes its copy of the connection, or the peer would never see the end of the stream.
 *   - A child must not outlive the server: PR_SET_PDEATHSIG kills it when its parent ends. The parent could end before the child has
 *     asked for that, so the child then checks its parent.
 *   - A stop must reach a child that blocks in recv: SIGTERM ends its receiving half (shutdown is safe in a signal handler), so that it echoes what
 *     it has received, sees the end of the stream, and closes. SIGUSR1 resets the connection.
 *   - A process id is used again. Only the parent sends signals, and it knows which of its children it has waited for.
 *   - Counters of a child that was killed must not be lost: they are in memory that all processes share.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform/linux/system_time.h"
#include "server/linux/process.h"

/* A failed accept fails again at once, for as long as descriptors or memory last. */
#define ACCEPT_PAUSE_NS (20 * NS_PER_MS)
/* Connections accepted before the parent looks at its other descriptors. */
#define ACCEPTS_AT_ONCE 64
/* How long children that were told to reset their connections may take before they are killed. */
#define RESET_NS (5 * NS_PER_S)

enum stage {
	SERVING,
	DRAINING,  /* the children echo what they have received */
	RESETTING, /* the children reset their connections */
	KILLING,
};

struct program {
	struct process_shared *shared;
	struct service service;
	char *buffer; /* each child writes to its own copy, made by the first write */
	pid_t pid;
	int signals;
	enum stage stage;
	uint64_t stage_due_ns;    /* the next stage begins; UINT64_MAX: never */
	uint64_t accept_again_ns; /* 0: now */
	struct pollfd *entries;   /* control, signals, listeners */
};

/* The connection of this process, for its signal handlers. */
static volatile sig_atomic_t connection_socket = -1;

/* ------------------------------------------------------------------------------------------- children */

static void on_drain(int signal)
{
	(void)signal;
	int code = errno;
	shutdown(connection_socket, SHUT_RD);
	errno = code;
}

/* A child whose requests get more than their echo has something to count before it ends: it ends its sleep, and then itself. */
static _Atomic(struct service *) connection_service;

static void on_reset(int signal)
{
	(void)signal;
	struct service *service = connection_service;
	if (service != NULL) {
		int code = errno;
		service_cut(service, 0);
		shutdown(connection_socket, SHUT_RDWR);
		errno = code;
		return;
	}
	struct linger linger = {.l_onoff = 1, .l_linger = 0};
	setsockopt(connection_socket, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	close(connection_socket);
	_exit(0);
}

/* Sends it all. Returns 0 or the error's code. */
static int send_all(struct process_slot *slot, socket_handle socket, const char *bytes, size_t length)
{
	while (length > 0) {
		ptrdiff_t sent = socket_send(socket, bytes, length);
		counter_add(&slot->system_calls, 1);
		if (sent < 0) {
			return (int)-sent;
		}
		counter_add(&slot->bytes_sent, (uint64_t)sent);
		bytes += sent;
		length -= (size_t)sent;
	}
	return 0;
}

/* Echoes until the stream ends. Returns 0 or the error's code. */
static int echo(struct process_slot *slot, socket_handle socket, char *buffer, size_t size)
{
	for (;;) {
		ptrdiff_t received = socket_receive(socket, buffer, size);
		counter_add(&slot->system_calls, 1);
		if (received <= 0) {
			return (int)-received;
		}
		counter_add(&slot->requests, 1);
		counter_add(&slot->bytes_received, (uint64_t)received);
		int code = send_all(slot, socket, buffer, (size_t)received);
		if (code != 0) {
			return code;
		}
	}
}

/* The same for requests that get more than their echo. A wait sleeps in the process. */
static int answer(struct process_slot *slot, struct service *service, socket_handle socket, char *buffer, size_t size)
{
	struct service_worker worker = {0};
	struct service_request request = {0};
	service_worker_start(&worker, service, &slot->served, &slot->system_calls);
	for (;;) {
		ptrdiff_t received = socket_receive(socket, buffer, size);
		counter_add(&slot->system_calls, 1);
		if (received <= 0) {
			return (int)-received;
		}
		counter_add(&slot->requests, 1);
		counter_add(&slot->bytes_received, (uint64_t)received);
		int code = service_answer(&worker, &request, socket, buffer, (uint32_t)received, &slot->bytes_sent);
		if (code != 0) {
			return code == SERVICE_WAS_CUT ? 0 : code;
		}
	}
}

static _Noreturn void connection_main(struct program *program, struct process_slot *slot, socket_handle socket)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != program->pid) {
		_exit(1);
	}
	close(PROCESS_CONTROL);
	close(program->signals);
	for (uint32_t index = 0; index < program->shared->listener_count; index++) {
		close(PROCESS_LISTENERS + (int)index);
	}
	connection_socket = socket;
	sigset_t orders;
	sigemptyset(&orders);
	sigaddset(&orders, SIGTERM);
	sigaddset(&orders, SIGUSR1);
	sigprocmask(SIG_UNBLOCK, &orders, NULL);
	size_t size = program->shared->receive_buffer_bytes;
	int code;
	if (service_is_used(&program->service)) {
		static struct service own; /* of this process alone, since a cut ends its connection only */
		own = program->service;
		connection_service = &own;
		code = answer(slot, &own, socket, program->buffer, size);
	} else {
		code = echo(slot, socket, program->buffer, size);
	}
	atomic_store_explicit(&slot->os_code, code, memory_order_relaxed);
	counter_add(&slot->system_calls, 1);
	close(socket);
	_exit(0);
}

/*
 * The order of a sequence lock: a reader that saw an even number twice has seen no change. Stores between begin and end are releases,
 * so that whoever sees one of them also sees the odd number. (No fence: ThreadSanitizer does not know it.)
 */
static void slot_change_begin(struct process_slot *slot)
{
	uint32_t sequence = atomic_load_explicit(&slot->sequence, memory_order_relaxed);
	atomic_store_explicit(&slot->sequence, sequence + 1, memory_order_relaxed);
}

static void slot_add(_Atomic uint64_t *field, uint64_t amount)
{
	atomic_store_explicit(field, counter_read(field) + amount, memory_order_release);
}

static void slot_change_end(struct process_slot *slot)
{
	uint32_t sequence = atomic_load_explicit(&slot->sequence, memory_order_relaxed);
	atomic_store_explicit(&slot->sequence, sequence + 1, memory_order_release);
}

/* NULL if all are in use. */
static struct process_slot *slot_take(struct process_shared *shared)
{
	if (shared->free_first != 0) {
		struct process_slot *slot = &shared->slots[shared->free_first - 1];
		shared->free_first = slot->next;
		return slot;
	}
	uint32_t used = atomic_load_explicit(&shared->slots_used, memory_order_relaxed);
	if (used == PROCESS_SLOTS) {
		return NULL;
	}
	atomic_store_explicit(&shared->slots_used, used + 1, memory_order_release);
	return &shared->slots[used];
}

/* Puts a slot at the head of a list. */
static void slot_link(struct process_shared *shared, struct process_slot *slot, uint32_t *first)
{
	slot->next = *first;
	*first = (uint32_t)(slot - shared->slots) + 1;
}

static uint32_t *bucket_of(struct process_shared *shared, uint32_t pid)
{
	return &shared->buckets[pid & (PROCESS_BUCKETS - 1)];
}

static void child_started(struct process_shared *shared, struct process_slot *slot, uint32_t pid)
{
	slot_change_begin(slot);
	atomic_store_explicit(&slot->pid, pid, memory_order_release);
	slot_change_end(slot);
	slot_link(shared, slot, bucket_of(shared, pid));
	uint32_t live = atomic_load_explicit(&shared->live, memory_order_relaxed) + 1;
	atomic_store_explicit(&shared->live, live, memory_order_relaxed);
	if (live > atomic_load_explicit(&shared->live_max, memory_order_relaxed)) {
		atomic_store_explicit(&shared->live_max, live, memory_order_relaxed);
	}
}

/* Takes the slot of a process out of its bucket. NULL: the process is not one of ours. */
static struct process_slot *slot_of(struct process_shared *shared, uint32_t pid)
{
	for (uint32_t *link = bucket_of(shared, pid); *link != 0;) {
		struct process_slot *slot = &shared->slots[*link - 1];
		if (atomic_load_explicit(&slot->pid, memory_order_relaxed) == pid) {
			*link = slot->next;
			return slot;
		}
		link = &slot->next;
	}
	return NULL;
}

static void child_ended(struct program *program, pid_t pid, int status, const struct rusage *usage)
{
	struct process_shared *shared = program->shared;
	struct process_slot *slot = slot_of(shared, (uint32_t)pid);
	if (slot == NULL) {
		return;
	}
	slot_change_begin(slot);
	atomic_store_explicit(&slot->pid, 0, memory_order_release);
	slot_add(&slot->ended_cpu_ns, timeval_ns(usage->ru_utime) + timeval_ns(usage->ru_stime));
	slot_add(&slot->ended_voluntary_switches, (uint64_t)usage->ru_nvcsw);
	slot_add(&slot->ended_involuntary_switches, (uint64_t)usage->ru_nivcsw);
	slot_change_end(slot);
	if (program->stage == SERVING) {
		int code = atomic_load_explicit(&slot->os_code, memory_order_relaxed);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
			/* It was killed, for example because memory ran out. */
			counter_add(&shared->totals.errors_other, 1);
		} else if (code != 0) {
			counters_error(&shared->totals, code);
		}
	}
	slot_link(shared, slot, &shared->free_first);
	counter_add(&shared->totals.closed, 1);
	uint32_t live = atomic_load_explicit(&shared->live, memory_order_relaxed);
	ib_count_down(live, 1);
	atomic_store_explicit(&shared->live, live, memory_order_relaxed);
}

static void children_wait(struct program *program)
{
	struct signalfd_siginfo signals[16];
	_Atomic uint64_t *system_calls = &program->shared->totals.system_calls;
	do {
		counter_add(system_calls, 1);
	} while (read(program->signals, signals, sizeof signals) > 0);
	for (;;) {
		struct rusage usage;
		int status;
		counter_add(system_calls, 1);
		pid_t pid = wait4(-1, &status, WNOHANG, &usage);
		if (pid <= 0) {
			return;
		}
		child_ended(program, pid, status, &usage);
	}
}

static void children_signal(const struct process_shared *shared, int signal)
{
	uint32_t used = atomic_load_explicit(&shared->slots_used, memory_order_relaxed);
	for (uint32_t index = 0; index < used; index++) {
		uint32_t pid = atomic_load_explicit(&shared->slots[index].pid, memory_order_relaxed);
		if (pid != 0) {
			kill((pid_t)pid, signal);
		}
	}
}

/* ------------------------------------------------------------------------------------------ accepting */

/* Closes a connection that the model cannot serve. `code`: why no process could be started. */
static void refuse(struct process_shared *shared, socket_handle socket, int code)
{
	close(socket);
	counter_add(&shared->totals.system_calls, 1);
	counter_add(&shared->totals.refused, 1);
	counter_add(&shared->totals.errors_threads, 1);
	counter_add(&shared->totals.closed, 1);
	atomic_store_explicit(&shared->totals.last_os_code, code, memory_order_relaxed);
}

static void serve(struct program *program, socket_handle socket)
{
	struct process_shared *shared = program->shared;
	counter_add(&shared->totals.accepted, 1);
	struct process_slot *slot = slot_take(shared);
	if (slot == NULL) {
		refuse(shared, socket, EAGAIN);
		return;
	}
	atomic_store_explicit(&slot->os_code, 0, memory_order_relaxed);
	counter_add(&shared->totals.system_calls, 1);
	pid_t pid = fork();
	if (pid == 0) {
		connection_main(program, slot, socket);
	}
	if (pid < 0) {
		int code = errno;
		slot_link(shared, slot, &shared->free_first);
		refuse(shared, socket, code);
		return;
	}
	child_started(shared, slot, (uint32_t)pid);
	counter_add(&shared->totals.system_calls, 1);
	close(socket);
}

/* Takes what waits at a listener. */
static void listener_ready(struct program *program, socket_handle listener)
{
	for (int count = 0; count < ACCEPTS_AT_ONCE; count++) {
		int code = 0;
		socket_handle socket = socket_accept(listener, &code);
		counter_add(&program->shared->totals.system_calls, 1);
		if (socket != SOCKET_NONE) {
			serve(program, socket);
			continue;
		}
		enum socket_condition condition = socket_condition_of(code);
		if (condition != SOCKET_WOULD_BLOCK) {
			counters_error(&program->shared->totals, code);
			if (condition != SOCKET_ABORTED) {
				program->accept_again_ns = clock_now_ns() + ACCEPT_PAUSE_NS;
			}
		}
		return;
	}
}

/* ------------------------------------------------------------------------------------------- stopping */

static void listeners_close_all(struct program *program)
{
	for (uint32_t index = 0; index < program->shared->listener_count; index++) {
		close(PROCESS_LISTENERS + (int)index);
	}
}

static void kill_all(struct program *program)
{
	program->stage = KILLING;
	program->stage_due_ns = UINT64_MAX;
	children_signal(program->shared, SIGKILL);
}

/* What the backend wrote: the deadline of a stop. Without it, the backend has ended, and nobody waits for a drain. */
static void control_ready(struct program *program)
{
	uint32_t deadline_ms;
	ssize_t length = recv(PROCESS_CONTROL, &deadline_ms, sizeof deadline_ms, 0);
	if (length < 0 && errno == EINTR) {
		return;
	}
	bool serving = program->stage == SERVING;
	if (serving) {
		listeners_close_all(program);
	}
	if (length != sizeof deadline_ms) {
		kill_all(program);
	} else if (serving) {
		program->stage = DRAINING;
		program->stage_due_ns = clock_now_ns() + deadline_ms * NS_PER_MS;
		children_signal(program->shared, SIGTERM);
	}
}

static void stage_over(struct program *program)
{
	struct process_shared *shared = program->shared;
	if (program->stage == DRAINING) {
		uint32_t live = atomic_load_explicit(&shared->live, memory_order_relaxed);
		atomic_store_explicit(&shared->reset, live, memory_order_relaxed);
		program->stage = RESETTING;
		program->stage_due_ns = clock_now_ns() + RESET_NS;
		children_signal(shared, SIGUSR1);
	} else {
		kill_all(program);
	}
}

/* --------------------------------------------------------------------------------------------- program */

static int wait_ms(const struct program *program, uint64_t now_ns)
{
	uint64_t due_ns = program->stage_due_ns;
	if (program->accept_again_ns != 0 && program->accept_again_ns < due_ns) {
		due_ns = program->accept_again_ns;
	}
	if (due_ns == UINT64_MAX) {
		return -1;
	}
	return due_ns <= now_ns ? 0 : (int)((due_ns - now_ns) / NS_PER_MS + 1);
}

static void round_of(struct program *program)
{
	uint64_t now_ns = clock_now_ns();
	if (program->accept_again_ns != 0 && now_ns >= program->accept_again_ns) {
		program->accept_again_ns = 0;
	}
	if (now_ns >= program->stage_due_ns) {
		stage_over(program);
	}
	bool accepts = program->stage == SERVING && program->accept_again_ns == 0;
	struct pollfd *entries = program->entries;
	/* After the end of the backend the control socket is always ready. */
	entries[0].fd = program->stage == KILLING ? -1 : PROCESS_CONTROL;
	nfds_t count = 2 + (accepts ? program->shared->listener_count : 0);
	counter_add(&program->shared->totals.system_calls, 1);
	if (poll(entries, count, wait_ms(program, now_ns)) <= 0) {
		return;
	}
	if (entries[1].revents != 0) {
		children_wait(program);
	}
	for (nfds_t index = 2; index < count; index++) {
		if (entries[index].revents != 0) {
			listener_ready(program, entries[index].fd);
		}
	}
	if (entries[0].fd >= 0 && entries[0].revents != 0) {
		control_ready(program);
	}
}

/* The signals of the children. All others are blocked, as in the threads of the library: only the backend ends this program. */
static bool signals_open(struct program *program)
{
	struct sigaction action = {.sa_handler = on_drain, .sa_flags = SA_RESTART};
	sigset_t all, ended;
	sigfillset(&all);
	sigemptyset(&ended);
	sigaddset(&ended, SIGCHLD);
	sigfillset(&action.sa_mask);
	if (sigprocmask(SIG_SETMASK, &all, NULL) != 0 || sigaction(SIGTERM, &action, NULL) != 0) {
		return false;
	}
	action.sa_handler = on_reset;
	program->signals = signalfd(-1, &ended, SFD_NONBLOCK | SFD_CLOEXEC);
	return sigaction(SIGUSR1, &action, NULL) == 0 && program->signals >= 0;
}

static bool program_open(struct program *program)
{
	struct process_shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, PROCESS_MEMORY, 0);
	if (shared == MAP_FAILED || shared->bytes != sizeof *shared) {
		return false;
	}
	close(PROCESS_MEMORY);
	program->shared = shared;
	program->service = shared->service;
	program->pid = getpid();
	program->stage_due_ns = UINT64_MAX;
	program->buffer = malloc(shared->receive_buffer_bytes);
	program->entries = calloc(2 + shared->listener_count, sizeof *program->entries);
	if (program->buffer == NULL || program->entries == NULL || !service_prepare(&program->service) ||
	    !signals_open(program)) {
		return false;
	}
	program->entries[0] = (struct pollfd){.fd = PROCESS_CONTROL, .events = POLLIN};
	program->entries[1] = (struct pollfd){.fd = program->signals, .events = POLLIN};
	for (uint32_t index = 0; index < shared->listener_count; index++) {
		program->entries[2 + index] = (struct pollfd){.fd = PROCESS_LISTENERS + (int)index, .events = POLLIN};
	}
	return true;
}

int main(void)
{
	struct program program = {0};
	if (!program_open(&program)) {
		(void)fprintf(stderr, "%s: only the iocp-bench library starts this program\n", PROCESS_PROGRAM);
		return 2;
	}
	char ready = 1;
	if (send(PROCESS_CONTROL, &ready, sizeof ready, MSG_NOSIGNAL) != sizeof ready) {
		return 1;
	}
	while (program.stage == SERVING || atomic_load_explicit(&program.shared->live, memory_order_relaxed) > 0) {
		round_of(&program);
	}
	service_free(&program.service);
	free(program.entries);
	free(program.buffer);
	return 0;
}
