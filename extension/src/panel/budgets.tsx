// The budgets that concern the user: a bar, and the same in words. What is held belongs to calls on their way.

import type { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';
import type { IBudget, IProxy } from '../tokens';
import { amount, budgetName, budgetWords, isUsedUp, outlookWords, share } from '../words';

interface IProps {
  readonly proxy: IProxy;
  readonly trans: TranslationBundle;
}

export function Budgets({ proxy, trans }: IProps): JSX.Element | null {
  const { budgets, budgetsProblem } = proxy;
  if (budgetsProblem !== null) {
    return (
      <p className="up-Quiet">{trans.__('Budgets cannot be told: %1', budgetsProblem.message)}</p>
    );
  }
  if (budgets === null || budgets.length === 0) {
    return null;
  }
  return (
    <ul className="up-Budgets" aria-label={trans.__('Budgets')}>
      {budgets.map(one => (
        <Budget key={one.id} budget={one} trans={trans} />
      ))}
    </ul>
  );
}

function Budget({ budget, trans }: { budget: IBudget; trans: TranslationBundle }): JSX.Element {
  const spent = share(budget.used_ratio, 1);
  const outlook = outlookWords(budget, trans);
  const held = budget.amount === null ? 0 : Math.min(share(budget.held, budget.amount), 1 - spent);
  return (
    <li className={isUsedUp(budget) ? 'up-Budget up-mod-bad' : 'up-Budget'}>
      <span className="up-Name" title={budgetName(budget, trans)}>
        {budgetName(budget, trans)}
      </span>
      {budget.amount !== null && (
        <span className="up-Quiet up-Spent">
          {trans.__(
            '%1 of %2',
            amount(budget.spent, budget, trans),
            amount(budget.amount, budget, trans)
          )}
        </span>
      )}
      <span className="up-Bar" aria-hidden="true">
        <span style={{ width: `${spent * 100}%` }} />
        <span className="up-mod-held" style={{ width: `${held * 100}%` }} />
        <Mark budget={budget} />
      </span>
      <span className="up-Quiet">{budgetWords(budget, trans)}</span>
      {outlook !== '' && <span className="up-Quiet">{outlook}</span>}
    </li>
  );
}

/** Where the bar will end: a line in a lighter band that holds 80 % of what may come. */
function Mark({ budget }: { budget: IBudget }): JSX.Element | null {
  const told = budget.outlook;
  if (!told || told.expected === null || budget.amount === null || isUsedUp(budget)) {
    return null;
  }
  const [at, low, high] = [told.expected, told.lower_80, told.upper_80].map(
    one => share(Math.max(one ?? 0, budget.spent ?? 0), budget.amount ?? 0) * 100
  );
  return (
    <>
      <span className="up-mod-likely" style={{ left: `${low}%`, width: `${high - low}%` }} />
      <span className="up-mod-end" style={{ left: `calc(${at}% - 2px)` }} />
    </>
  );
}
