import React from 'react';
import type { Failure } from '../request';

/** What went wrong and what to do, told to a screen reader at once. */
export function Trouble({ failure }: { failure: Failure }): JSX.Element {
  return (
    <div className="up-Trouble" role="alert">
      <p>{failure.message}</p>
      {failure.hint && <p className="up-Quiet">{failure.hint}</p>}
    </div>
  );
}
