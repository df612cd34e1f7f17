/**
 * The messages between the conductor and a forked `serve` (Node's IPC channel, serialization 'json'). The server's figures are
 * taken inside its own process, counters and CPU in one go, so that a slow channel shifts the moment of a sample and never its ratio.
 */

/** Counters of a server since its start; null where the model has no such figure. Mirrors struct ib_server_stats. */
export interface ServerStats {
  accepted: number;
  closed: number;
  refused: number | null;
  requests: number;
  bytes_received: number;
  bytes_sent: number;
  errors_reset: number;
  errors_aborted: number | null;
  errors_descriptors: number | null;
  errors_memory: number | null;
  errors_threads: number | null;
  errors_other: number;
  operations_posted: number | null;
  operations_completed: number | null;
  receives_paused: number | null;
  worker_connections_min: number | null;
  worker_connections_max: number | null;
  workers: number | null;
  threads: number | null;
  threads_max: number | null;
  /** What the OS made of the backlog. */
  backlog: number | null;
  last_os_code: number;
  features: string;
}

/** What a process has used since its start; null where the system does not tell. Mirrors struct ib_process_usage. */
export interface ProcessUsage {
  taken_at_ns: number;
  cpu_user_ns: number | null;
  cpu_system_ns: number | null;
  cpu_total_ns: number | null;
  voluntary_switches: number | null;
  involuntary_switches: number | null;
  resident_bytes: number | null;
  resident_peak_bytes: number | null;
  page_table_bytes: number | null;
  nonpaged_pool_bytes: number | null;
  threads: number | null;
  descriptors: number | null;
}

export interface ServerSample {
  usage: ProcessUsage;
  stats: ServerStats;
}

export type ToServer = { type: 'sample'; id: number } | { type: 'stop'; deadline_ms: number };

export type FromServer =
  | { type: 'listening'; mode: string; backend: string; host: string; port: number; pid: number; stats: ServerStats }
  | { type: 'sample'; id: number; sample: ServerSample }
  | { type: 'stopped'; sample: ServerSample; deadline_missed: boolean }
  | { type: 'error'; code: string; message: string; hint: string };
