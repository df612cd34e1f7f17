/*
 * process.c - a process per connection: the backend, which starts and watches the program that forks.
 *
 * Technique. The program next to the library (process_server.c, which describes the model) gets the listeners, a block of shared memory with
 * all counters, and one end of a socket. It is started by posix_spawn and not by fork: this process has threads and a large heap, and a child
 * of it would inherit both the locks that are held at that moment and the page tables of the heap.
 *
 * Floor: Linux 3.17 (memfd_create).
 *
 * Traps
 *   - If this process is killed, nobody stops the program. It sees the end of the control socket, and kills and awaits its children.
 *     PR_SET_PDEATHSIG would act when the thread ends that started the program, which may be long before.
 *   - The descriptors that the program gets must have fixed numbers, and one that is still to be passed on may have such a number already. They
 *     are first duplicated to numbers above all of these.
 *   - A figure and the counter that divides it must be of the same moment. Reading thousands of processes takes a while, so both are read
 *     process by process.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform/linux/usage.h"
#include "server/linux/process.h"
#include "server/listeners.h"

/* How long the program may take to start. */
#define READY_MS 10000
/* How much longer than the deadline of a stop the program may take: it kills its children 5 s after the deadline. */
#define STOP_GRACE_MS 15000
/* Readings of a slot whose process ends meanwhile, before the last one is taken as it is. */
#define SLOT_READINGS 4

struct process_server {
	struct server base;
	struct process_shared *shared;
	pid_t program;
	int control;
	uint32_t backlog;
};

extern const struct backend process_backend;
extern char **environ;

/* ------------------------------------------------------------------------------------------ program */

/* The program's path: in the folder of the file that this code was loaded from. Returns 0 or errno. */
static int program_path(char *out, size_t size)
{
	Dl_info info;
	if (dladdr(&process_backend, &info) == 0 || info.dli_fname == NULL) {
		return ENOENT;
	}
	char *library = realpath(info.dli_fname, NULL);
	if (library == NULL) {
		return errno;
	}
	*strrchr(library, '/') = '\0';
	int length = snprintf(out, size, "%s/%s", library, PROCESS_PROGRAM);
	free(library);
	if (length < 0 || (size_t)length >= size) {
		return ENAMETOOLONG;
	}
	return access(out, X_OK) == 0 ? 0 : errno;
}

static void process_probe(struct ib_probe *out)
{
	char path[4096];
	int code = program_path(path, sizeof path);
	out->available = code == 0;
	out->os_code = code;
	if (code != 0) {
		snprintf(out->reason, sizeof out->reason, "the program %s next to the library cannot be started: %s",
		         PROCESS_PROGRAM, error_text(code));
		snprintf(out->hint, sizeof out->hint, "build it with the library: npm run build");
	}
}

/* Duplicates a descriptor to a number of `least` or more, and has it passed on as `number`. Returns 0 or errno. */
static int pass_on(posix_spawn_file_actions_t *actions, int descriptor, int least, int number, int *duplicate)
{
	*duplicate = fcntl(descriptor, F_DUPFD_CLOEXEC, least);
	return *duplicate < 0 ? errno : posix_spawn_file_actions_adddup2(actions, *duplicate, number);
}

/* All signals blocked, none of them ignored. Returns 0 or an error's code. */
static int attributes_make(posix_spawnattr_t *attributes)
{
	sigset_t all;
	sigfillset(&all);
	int code = posix_spawnattr_init(attributes);
	if (code == 0) {
		posix_spawnattr_setsigmask(attributes, &all);
		posix_spawnattr_setsigdefault(attributes, &all);
		code = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	}
	return code;
}

/* Starts the program with its descriptors. Returns 0 or errno. */
static int program_spawn(pid_t *out, const char *path, int control, int memory, const struct listeners *listeners)
{
	uint32_t count = 2 + listeners->count;
	int least = PROCESS_CONTROL + (int)count;
	int *duplicates = malloc(count * sizeof *duplicates);
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	if (duplicates == NULL || posix_spawn_file_actions_init(&actions) != 0) {
		free(duplicates);
		return ENOMEM;
	}
	int code = attributes_make(&attributes);
	uint32_t made = 0;
	for (; made < count && code == 0; made++) {
		int descriptor = made == 0 ? control : made == 1 ? memory : listeners->sockets[made - 2];
		code = pass_on(&actions, descriptor, least, PROCESS_CONTROL + (int)made, &duplicates[made]);
	}
	/* Its children inherit these two, so they must not keep a pipe open that somebody reads to the end. */
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	if (code == 0) {
		char name[] = PROCESS_PROGRAM;
		char *arguments[] = {name, NULL};
		code = posix_spawn(out, path, &actions, &attributes, arguments, environ);
	}
	for (uint32_t index = 0; index < made; index++) {
		if (duplicates[index] >= 0) {
			close(duplicates[index]);
		}
	}
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	free(duplicates);
	return code;
}

/* Waits until the control socket can be read: the program has written, or has ended. False if neither happens in time. */
static bool control_await(int control, uint64_t duration_ms)
{
	uint64_t due_ns = clock_now_ns() + duration_ms * NS_PER_MS;
	for (;;) {
		uint64_t now_ns = clock_now_ns();
		int rest_ms = now_ns >= due_ns ? 0 : (int)((due_ns - now_ns) / NS_PER_MS + 1);
		struct pollfd entry = {.fd = control, .events = POLLIN};
		int ready = poll(&entry, 1, rest_ms);
		if (ready > 0) {
			return true;
		}
		if (rest_ms == 0 || (ready < 0 && errno != EINTR)) {
			return false;
		}
	}
}

/* Ends the program if it has not ended, and removes it. Returns its status as waitpid() gives it. */
static int program_end(pid_t program, bool at_once)
{
	int status = 0;
	if (at_once) {
		kill(program, SIGKILL);
	}
	while (waitpid(program, &status, 0) < 0 && errno == EINTR) {
		continue;
	}
	return status;
}

static int32_t program_ended(int status, struct ib_error *error)
{
	if (WIFSIGNALED(status)) {
		return error_set(error, IB_STATUS_OS, 0, "the program that forks was killed by signal %d", WTERMSIG(status));
	}
	return error_set(error, IB_STATUS_OS, 0, "the program that forks ended with exit code %d", WEXITSTATUS(status));
}

/* ------------------------------------------------------------------------------------- start and stop */

/* Returns the descriptor of the block, or minus errno. */
static int shared_open(struct process_shared **out, const struct ib_server_options *options,
                       const struct service *service)
{
	int memory = memfd_create("iocp-bench process", MFD_CLOEXEC);
	if (memory < 0) {
		return -errno;
	}
	struct process_shared *shared = MAP_FAILED;
	if (ftruncate(memory, sizeof *shared) == 0) {
		shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	}
	if (shared == MAP_FAILED) {
		int code = errno;
		close(memory);
		return -code;
	}
	shared->bytes = sizeof *shared;
	shared->listener_count = options->address_count;
	shared->receive_buffer_bytes = options->receive_buffer_bytes;
	shared->service = *service;
	*out = shared;
	return memory;
}

/* Starts the program and waits until it accepts. */
static int32_t program_start(struct process_server *server, int memory, const struct listeners *listeners,
                             struct ib_error *error)
{
	char path[4096];
	int sockets[2];
	int code = program_path(path, sizeof path);
	if (code == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
		code = errno;
	}
	if (code != 0) {
		return error_set(error, IB_STATUS_OS, code, "%s cannot be started: %s", PROCESS_PROGRAM, error_text(code));
	}
	code = program_spawn(&server->program, path, sockets[1], memory, listeners);
	close(sockets[1]);
	if (code != 0) {
		close(sockets[0]);
		error_set(error, IB_STATUS_THREADS, code, "%s cannot be started: %s", PROCESS_PROGRAM, error_text(code));
		error_hint(error, "raise the limit of processes: see 'iocp-bench doctor'");
		return IB_STATUS_THREADS;
	}
	server->control = sockets[0];
	char ready;
	bool came = control_await(server->control, READY_MS);
	if (came && recv(server->control, &ready, sizeof ready, 0) == sizeof ready) {
		return IB_STATUS_OK;
	}
	close(server->control);
	int status = program_end(server->program, !came);
	return came ? program_ended(status, error)
	            : error_set(error, IB_STATUS_OS, 0, "%s did not start within %d s", PROCESS_PROGRAM, READY_MS / 1000);
}

static int32_t process_start(const struct server_config *config, struct server **out, uint32_t *bound_port,
                             struct ib_error *error)
{
	struct process_server *server = calloc(1, sizeof *server);
	if (server == NULL) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for the server");
	}
	server_base_init(&server->base, &process_backend, config);
	server->base.service.waits_block = true;
	struct listeners listeners;
	int32_t status = listeners_open(&listeners, &config->options, SOCKET_NONBLOCKING, error);
	if (status != IB_STATUS_OK) {
		free(server);
		return status;
	}
	int memory = shared_open(&server->shared, &config->options, &server->base.service);
	if (memory < 0) {
		status = error_set(error, IB_STATUS_MEMORY, -memory, "no memory for the counters: %s", error_text(-memory));
	} else {
		status = program_start(server, memory, &listeners, error);
		close(memory);
	}
	*bound_port = listeners.port;
	server->backlog = listeners.backlog;
	/* From now on the program alone has them, so that nothing listens any more when it ends. */
	listeners_close(&listeners);
	if (status == IB_STATUS_OK) {
		*out = &server->base;
		return status;
	}
	if (server->shared != NULL) {
		munmap(server->shared, sizeof *server->shared);
	}
	free(server);
	return status;
}

static void process_stats(struct server *base, struct ib_server_stats *out)
{
	const struct process_shared *shared = ((struct process_server *)base)->shared;
	counters_sum(&shared->totals, out);
	counters_system_calls(&shared->totals.system_calls, out);
	uint32_t used = atomic_load_explicit(&shared->slots_used, memory_order_acquire);
	for (uint32_t index = 0; index < used; index++) {
		const struct process_slot *slot = &shared->slots[index];
		out->requests += counter_read(&slot->requests);
		out->bytes_received += counter_read(&slot->bytes_received);
		out->bytes_sent += counter_read(&slot->bytes_sent);
		out->system_calls += counter_read(&slot->system_calls);
		service_counts_sum(&slot->served, out);
	}
	out->threads = 1 + atomic_load_explicit(&shared->live, memory_order_relaxed);
	out->threads_max = 1 + atomic_load_explicit(&shared->live_max, memory_order_relaxed);
	out->backlog = ((struct process_server *)base)->backlog;
}

static int32_t process_stop(struct server *base, uint32_t deadline_ms, struct ib_server_stats *final_stats,
                            struct ib_error *error)
{
	struct process_server *server = (struct process_server *)base;
	/* If the program has ended, the socket is closed, and there is nobody to stop. */
	(void)!send(server->control, &deadline_ms, sizeof deadline_ms, MSG_NOSIGNAL);
	bool ended = control_await(server->control, (uint64_t)deadline_ms + STOP_GRACE_MS);
	close(server->control);
	int program_status = program_end(server->program, !ended);

	process_stats(base, final_stats);
	uint32_t reset = atomic_load_explicit(&server->shared->reset, memory_order_relaxed);
	munmap(server->shared, sizeof *server->shared);
	free(server);
	final_stats->threads = 0;
	/* The children of a program that was killed have been killed by the kernel. */
	final_stats->closed = final_stats->accepted;
	if (!WIFEXITED(program_status) || WEXITSTATUS(program_status) != 0) {
		return ended ? program_ended(program_status, error)
		             : error_set(error, IB_STATUS_DEADLINE, 0, "the program that forks did not end and was killed");
	}
	return server_stopped(reset, deadline_ms, error);
}

/* --------------------------------------------------------------------------------------------- usage */

/* What the processes of a slot have used, and what they have counted, at one moment. */
struct slot_reading {
	struct ib_process_usage
	    usage; /* of the process that runs now; CPU time and switches of those that ended are included */
	uint64_t requests;
	uint64_t bytes_received;
	uint64_t bytes_sent;
};

static void slot_read_once(const struct process_slot *slot, bool memory, struct slot_reading *out)
{
	/* Acquiring loads: the second look at the sequence comes after them. */
	uint32_t pid = atomic_load_explicit(&slot->pid, memory_order_acquire);
	if (pid == 0 || !usage_of_single_thread(pid, memory, &out->usage)) {
		out->usage = usage_none();
	}
	out->requests = counter_read(&slot->requests);
	out->bytes_received = counter_read(&slot->bytes_received);
	out->bytes_sent = counter_read(&slot->bytes_sent);
	struct ib_process_usage ended = usage_none();
	ended.cpu_total_ns = atomic_load_explicit(&slot->ended_cpu_ns, memory_order_acquire);
	ended.voluntary_switches = atomic_load_explicit(&slot->ended_voluntary_switches, memory_order_acquire);
	ended.involuntary_switches = atomic_load_explicit(&slot->ended_involuntary_switches, memory_order_acquire);
	usage_add(&out->usage, &ended);
}

static void slot_read(const struct process_slot *slot, bool memory, struct slot_reading *out)
{
	for (int reading = 0; reading < SLOT_READINGS; reading++) {
		uint32_t before = atomic_load_explicit(&slot->sequence, memory_order_acquire);
		slot_read_once(slot, memory, out);
		uint32_t after = atomic_load_explicit(&slot->sequence, memory_order_relaxed);
		if (before == after && before % 2 == 0) {
			return;
		}
	}
}

static int32_t process_sample(struct server *base, bool memory, struct ib_process_usage *usage,
                              struct ib_server_stats *stats, struct ib_error *error)
{
	struct process_server *server = (struct process_server *)base;
	const struct process_shared *shared = server->shared;
	siginfo_t ended = {0};
	if (waitid(P_PID, (id_t)server->program, &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid != 0) {
		return program_ended(ended.si_code == CLD_EXITED ? ended.si_status << 8 : ended.si_status, error);
	}
	uint64_t start_ns = clock_now_ns();
	struct ib_process_usage program;
	if (!usage_of_single_thread((uint32_t)server->program, memory, &program)) {
		return error_set(error, IB_STATUS_OS, ESRCH, "the program that forks has ended");
	}
	int32_t status = usage_of_self(memory, usage, error);
	if (status != IB_STATUS_OK) {
		return status;
	}
	usage_add(usage, &program);
	process_stats(base, stats);
	stats->requests = 0;
	stats->bytes_received = 0;
	stats->bytes_sent = 0;
	uint32_t used = atomic_load_explicit(&shared->slots_used, memory_order_acquire);
	for (uint32_t index = 0; index < used; index++) {
		struct slot_reading reading;
		slot_read(&shared->slots[index], memory, &reading);
		usage_add(usage, &reading.usage);
		stats->requests += reading.requests;
		stats->bytes_received += reading.bytes_received;
		stats->bytes_sent += reading.bytes_sent;
	}
	/* The moment of the whole: the middle of the time that reading it took. */
	usage->taken_at_ns = start_ns + (clock_now_ns() - start_ns) / 2;
	return IB_STATUS_OK;
}

const struct backend process_backend = {
    .name = "process",
    .speaks_http = true,
    .probe = process_probe,
    .start = process_start,
    .stats = process_stats,
    .sample = process_sample,
    .stop = process_stop,
};
