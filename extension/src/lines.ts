// The quiet line under a cell: an element in the cell's box, no part of the notebook's model. Nothing of it is saved.

import type { Cell } from '@jupyterlab/cells';
import { type Notebook, NotebookActions } from '@jupyterlab/notebook';
import type { ICellCalls, IConversation } from './tokens';

const CLASS = 'up-CellLine';

/** Draws the lines of one notebook for as long as it is open. */
export class Lines {
  constructor(conversation: IConversation) {
    const notebook = conversation.panel.content;
    this._notebook = notebook;
    conversation.drawsLines = true;
    conversation.cellRan.connect((_, ran) => this._set(ran));
    const gone = (_: unknown, told: { notebook: Notebook; cell: Cell }): void => {
      if (told.notebook === notebook) {
        this._drop(told.cell.model.id);
      }
    };
    NotebookActions.executionScheduled.connect(gone);
    NotebookActions.outputCleared.connect(gone);
    notebook.modelContentChanged.connect(this._redrawSoon, this);
    notebook.disposed.connect(() => {
      NotebookActions.executionScheduled.disconnect(gone);
      NotebookActions.outputCleared.disconnect(gone);
    });
  }

  private _set(ran: ICellCalls): void {
    if (ran.line === '') {
      this._drop(ran.cell_id);
      return;
    }
    this._lines.set(ran.cell_id, ran);
    const cell = this._notebook.widgets.find(one => one.model.id === ran.cell_id);
    if (cell !== undefined) {
      this._draw(cell, ran);
    }
  }

  private _drop(id: string): void {
    if (this._lines.delete(id)) {
      const cell = this._notebook.widgets.find(one => one.model.id === id);
      cell?.node.querySelector(`:scope > .${CLASS}`)?.remove();
    }
  }

  private _draw(cell: Cell, ran: ICellCalls): void {
    if (cell.model.type !== 'code') {
      return;
    }
    const line =
      cell.node.querySelector<HTMLElement>(`:scope > .${CLASS}`) ?? document.createElement('div');
    line.className = CLASS;
    line.classList.toggle('up-mod-bad', ran.errors > 0);
    line.classList.toggle('up-mod-pending', ran.pending > 0);
    line.setAttribute('role', 'note');
    if (line.textContent !== ran.line) {
      line.textContent = ran.line;
    }
    void cell.ready.then(() => {
      // A cell that was never in view fills its box only now; the line belongs below all of it.
      if (!cell.isDisposed && this._lines.has(ran.cell_id) && cell.node.lastElementChild !== line) {
        cell.node.append(line);
      }
    });
  }

  /** Cells that were moved, or whose type changed, have a new box. */
  private _redrawSoon(): void {
    if (this._lines.size > 0 && this._frame === 0) {
      this._frame = window.requestAnimationFrame(() => {
        this._frame = 0;
        for (const cell of this._notebook.isDisposed ? [] : this._notebook.widgets) {
          const ran = this._lines.get(cell.model.id);
          if (ran !== undefined) {
            this._draw(cell, ran);
          }
        }
      });
    }
  }

  private readonly _notebook: Notebook;
  private readonly _lines = new Map<string, ICellCalls>();
  private _frame = 0;
}
