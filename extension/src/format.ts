// Numbers as people read them. Unknown is a dash, never 0.

export const UNKNOWN = '—';

/** Dollars with their cents; below one dollar to three significant digits. */
export function usd(value: number | null | undefined): string {
  if (value === null || value === undefined) {
    return UNKNOWN;
  }
  if (value === 0) {
    return '$0';
  }
  if (value >= 1) {
    return `$${value.toLocaleString('en-US', { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
  }
  const nano = Math.round(value * 1e9); // whole, so that equal sums read the same however they were added up
  const [dollars, cents] = (Number(nano.toPrecision(3)) / 1e9).toFixed(9).split('.');
  return `$${dollars}.${cents.replace(/0+$/, '').padEnd(2, '0')}`;
}

/** Dollars to the nano-dollar, for whoever wants to know exactly. */
export function whole(value: number | null | undefined): string {
  if (value === null || value === undefined) {
    return UNKNOWN;
  }
  const digits = { minimumFractionDigits: 2, maximumFractionDigits: 9 };
  return `$${value.toLocaleString('en-US', digits)}`;
}

/** A count; millions from ten million on. */
export function count(value: number | null | undefined): string {
  if (value === null || value === undefined) {
    return UNKNOWN;
  }
  if (value >= 10_000_000) {
    return `${(value / 1_000_000).toLocaleString('en-US', { maximumFractionDigits: 1 })} M`;
  }
  return value.toLocaleString('en-US', { maximumFractionDigits: 0 });
}

/** A count to its last digit. */
export function plain(value: number | null | undefined): string {
  return value === null || value === undefined ? UNKNOWN : value.toLocaleString('en-US');
}

/** A duration in milliseconds. */
export function span(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) {
    return UNKNOWN;
  }
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** An instant that the proxy told; without an offset it is UTC. */
export function instant(text: string): Date {
  return new Date(/(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`);
}

/** The day that it is in a time zone, as 2026-11-24. */
export function today(zone: string): string {
  return new Intl.DateTimeFormat('en-CA', { timeZone: zone, dateStyle: 'short' }).format(
    new Date()
  );
}
