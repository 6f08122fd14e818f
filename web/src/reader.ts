/** Read files one after the other with the loaded model, so that memory does not grow with their number. */
import type { Row } from "./csv";
import { reasonOf } from "./errors";
import type { ModelClient } from "./model/client";
import type { Answer } from "./model/messages";
import type { Metadata } from "./model/metadata";
import { rowsOf } from "./readings";

export interface Reading {
  file: File;
  rows: Row[];
  answer: Answer;
}

export interface Progress {
  done: number;
  total: number;
  unreadable: number;
}

export interface Listener {
  answered: (reading: Reading) => void;
  unreadable: (file: File, reason: string) => void;
  progress: (progress: Progress) => void;
}

export class Reader {
  readonly readings: Reading[] = [];
  private files: File[] = [];
  private next = 0;
  private failures = 0;
  private metadata: Metadata | undefined;
  private running = false;
  /** Changes when everything before it no longer counts: another model, or all images removed. */
  private generation = 0;

  constructor(
    private readonly model: ModelClient,
    private readonly listener: Listener,
  ) {}

  add(files: readonly File[]): void {
    this.files.push(...files);
    this.start();
  }

  /** Read all files again, with the model that was just loaded. */
  useModel(metadata: Metadata): void {
    this.metadata = metadata;
    const { files } = this;
    this.clear();
    this.add(files);
  }

  clear(): void {
    this.generation++;
    this.files = [];
    this.readings.length = 0;
    this.next = 0;
    this.failures = 0;
  }

  private start(): void {
    if (this.files.length) this.report();
    if (!this.running && this.metadata) void this.run();
  }

  private async run(): Promise<void> {
    this.running = true;
    while (this.next < this.files.length) {
      const file = this.files[this.next]!;
      const generation = this.generation;
      let tell: () => void;
      try {
        const answer = await this.model.ask<"read">({ kind: "read", file });
        const reading = { file, answer, rows: rowsOf(file.name, answer, this.metadata!) };
        tell = () => {
          this.readings.push(reading);
          this.listener.answered(reading);
        };
      } catch (error) {
        tell = () => {
          this.failures++;
          this.listener.unreadable(file, reasonOf(error));
        };
      }
      if (generation !== this.generation) continue;
      this.next++;
      tell();
      this.report();
    }
    this.running = false;
  }

  private report(): void {
    this.listener.progress({ done: this.next, total: this.files.length, unreadable: this.failures });
  }
}
