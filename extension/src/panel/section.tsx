import React, { useId } from 'react';

/** A part of the panel under its heading; `note` stands beside the heading. */
export function Section(props: {
  title: string;
  note?: React.ReactNode;
  children: React.ReactNode;
}): JSX.Element {
  const id = useId();
  return (
    <section className="up-Section" aria-labelledby={id}>
      <div className="up-Heading">
        <h3 id={id}>{props.title}</h3>
        {props.note}
      </div>
      {props.children}
    </section>
  );
}
