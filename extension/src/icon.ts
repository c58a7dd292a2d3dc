import { LabIcon } from '@jupyterlab/ui-components';
import svgstr from '../style/icon.svg';

export const proxyIcon = new LabIcon({ name: '@ultimate-proxy/jupyterlab:icon', svgstr });
