// The plugins. Each can be disabled by its id: jupyter labextension disable @ultimate-proxy/jupyterlab:line

import {
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette, IToolbarWidgetRegistry, Notification } from '@jupyterlab/apputils';
import { ILauncher } from '@jupyterlab/launcher';
import { INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';
import { Signal } from '@lumino/signaling';
import { KernelButton } from './button';
import { Conversation } from './conversation';
import { proxyIcon } from './icon';
import { Lines } from './lines';
import { DEFAULTS, ProxyModel } from './model';
import { Panel } from './panel';
import { StatusItem } from './status';
import {
  COMMANDS,
  type IConversation,
  IConversations,
  type IOptions,
  IProxy,
  NAMESPACE
} from './tokens';

const ID = '@ultimate-proxy/jupyterlab';

const proxy: JupyterFrontEndPlugin<IProxy> = {
  id: `${ID}:proxy`,
  description: 'Knows the proxy: its state, the numbers of today, calls as they happen.',
  autoStart: true,
  provides: IProxy,
  requires: [ISettingRegistry],
  optional: [ITranslator, ICommandPalette],
  activate: async (
    app: JupyterFrontEnd,
    registry: ISettingRegistry,
    translator: ITranslator | null,
    palette: ICommandPalette | null
  ) => {
    const model = new ProxyModel(app.serviceManager.serverSettings);
    const settings = await registry.load(proxy.id);
    const take = (): void =>
      model.configure({ ...DEFAULTS, ...(settings.composite as Partial<IOptions>) });
    settings.changed.connect(take);
    take();
    addCommands(app, model, (translator ?? nullTranslator).load(NAMESPACE), palette);
    return model;
  }
};

const panel: JupyterFrontEndPlugin<void> = {
  id: `${ID}:panel`,
  description: 'The panel in the left side bar.',
  autoStart: true,
  requires: [IProxy],
  optional: [ITranslator, ILayoutRestorer, ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    model: IProxy,
    translator: ITranslator | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null
  ) => {
    const trans = (translator ?? nullTranslator).load(NAMESPACE);
    const widget = new Panel(model, trans);
    restorer?.add(widget, widget.id);
    app.shell.add(widget, 'left', { rank: 550, type: 'Ultimate Proxy' });
    app.commands.addCommand(COMMANDS.openPanel, {
      label: trans.__('Show the Ultimate Proxy Panel'),
      icon: proxyIcon,
      execute: () => app.shell.activateById(widget.id)
    });
    palette?.addItem({ command: COMMANDS.openPanel, category: trans.__('Ultimate Proxy') });
  }
};

const status: JupyterFrontEndPlugin<void> = {
  id: `${ID}:status`,
  description: 'Today’s spend in the status bar.',
  autoStart: true,
  requires: [IProxy, IStatusBar],
  optional: [ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: IProxy,
    bar: IStatusBar,
    translator: ITranslator | null
  ) => {
    const item = new StatusItem(model, (translator ?? nullTranslator).load(NAMESPACE), () => {
      if (app.commands.hasCommand(COMMANDS.openPanel)) {
        void app.commands.execute(COMMANDS.openPanel);
      }
    });
    const shown = new Signal<IProxy, void>(model);
    model.changed.connect(() => shown.emit());
    bar.registerStatusItem(status.id, {
      item,
      align: 'left',
      rank: 30,
      isActive: () => model.options.showStatusBar,
      activeStateChanged: shown
    });
  }
};

const kernel: JupyterFrontEndPlugin<IConversations> = {
  id: `${ID}:kernel`,
  description: 'Speaks with the kernels of notebooks about their LLM calls.',
  autoStart: true,
  provides: IConversations,
  requires: [INotebookTracker, IProxy],
  optional: [ITranslator],
  activate: (
    app: JupyterFrontEnd,
    tracker: INotebookTracker,
    model: IProxy,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load(NAMESPACE);
    const known = new Map<NotebookPanel, IConversation>();
    const conversations: IConversations = {
      of: one => {
        let found = known.get(one);
        if (found === undefined) {
          const { contents } = app.serviceManager;
          found = new Conversation(one, contents, trans, () => model.options.autoLoad);
          known.set(one, found);
          one.disposed.connect(() => known.delete(one));
          added.emit(found);
        }
        return found;
      },
      get added() {
        return added;
      },
      forEach: visit => known.forEach(visit)
    };
    const added = new Signal<IConversations, IConversation>(conversations);
    tracker.forEach(one => conversations.of(one));
    tracker.widgetAdded.connect((_, one) => void conversations.of(one));
    app.commands.addCommand(COMMANDS.toggleKernel, {
      label: trans.__('Route LLM Calls of This Kernel through the Proxy'),
      isEnabled: () => tracker.currentWidget !== null,
      isToggleable: true,
      isToggled: () =>
        tracker.currentWidget !== null && conversations.of(tracker.currentWidget).routed === 'on',
      execute: async () => {
        if (tracker.currentWidget !== null) {
          await conversations.of(tracker.currentWidget).toggle();
        }
      }
    });
    return conversations;
  }
};

const button: JupyterFrontEndPlugin<void> = {
  id: `${ID}:button`,
  description: 'The notebook toolbar’s button: proxy on or off for this kernel.',
  autoStart: true,
  requires: [IConversations, IToolbarWidgetRegistry],
  optional: [ITranslator],
  activate: (
    _: JupyterFrontEnd,
    conversations: IConversations,
    toolbar: IToolbarWidgetRegistry,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load(NAMESPACE);
    toolbar.addFactory<NotebookPanel>(
      'Notebook',
      'ultimate-proxy',
      one => new KernelButton(conversations.of(one), trans)
    );
  }
};

const line: JupyterFrontEndPlugin<void> = {
  id: `${ID}:line`,
  description: 'The line under a cell that made LLM calls.',
  autoStart: true,
  requires: [IConversations],
  activate: (_: JupyterFrontEnd, conversations: IConversations) => {
    conversations.forEach(one => void new Lines(one));
    conversations.added.connect((_, one) => void new Lines(one));
  }
};

const launcher: JupyterFrontEndPlugin<void> = {
  id: `${ID}:launcher`,
  description: 'The launcher’s tile that opens the overview dashboard.',
  autoStart: true,
  requires: [IProxy],
  optional: [ILauncher, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: IProxy,
    tiles: ILauncher | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load(NAMESPACE);
    const category = trans.__('Ultimate Proxy');
    app.commands.addCommand(COMMANDS.openOverview, {
      label: trans.__('Overview Dashboard'),
      caption: trans.__('LLM spend, calls and latency, in a new browser tab'),
      icon: proxyIcon,
      execute: () => openOverview(model, trans)
    });
    tiles?.add({ command: COMMANDS.openOverview, category, rank: 1 });
    palette?.addItem({ command: COMMANDS.openOverview, category });
  }
};

/** Open the dashboard in a tab of its own: the proxy lets no page frame it. */
function openOverview(model: IProxy, trans: TranslationBundle): void {
  const url = model.state?.url;
  if (!model.state?.reachable || !url) {
    const message = trans.__('The proxy cannot be reached, and the dashboard is its page.');
    Notification.warning(`${message} ${model.state?.hint ?? ''}`.trim(), { autoClose: 8000 });
    return;
  }
  window.open(`${url}/dashboards/overview`, '_blank', 'noopener');
}

function addCommands(
  app: JupyterFrontEnd,
  model: ProxyModel,
  trans: TranslationBundle,
  palette: ICommandPalette | null
): void {
  const category = trans.__('Ultimate Proxy');
  const tell = (error: unknown): void => {
    const { message, hint } = error as { message: string; hint?: string };
    Notification.error(`${message} ${hint ?? ''}`.trim());
  };
  app.commands.addCommand(COMMANDS.start, {
    label: trans.__('Start the Proxy'),
    isEnabled: () => model.state?.can_start ?? false,
    execute: () => model.start().catch(tell)
  });
  palette?.addItem({ command: COMMANDS.start, category });
  model.changed.connect(() => app.commands.notifyCommandChanged(COMMANDS.start));
}

export default [proxy, panel, status, kernel, button, line, launcher];
