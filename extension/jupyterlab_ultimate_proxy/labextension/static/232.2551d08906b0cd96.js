"use strict";(self.rspackChunk_ultimate_proxy_jupyterlab=self.rspackChunk_ultimate_proxy_jupyterlab||[]).push([[232],{475(e,o,r){var t=r(601),a=r.n(t),p=r(314),n=(r.n(p))()(a());n.push([e.id,`/* Colours and sizes come from JupyterLab's theme alone. */

.up-Panel {
  background: var(--jp-layout-color1);
  color: var(--jp-ui-font-color1);
  font-size: var(--jp-ui-font-size1);
  line-height: 1.4;
  overflow-y: auto;
  padding: 0 12px 16px;
}

.up-Panel h2,
.up-Panel h3,
.up-Panel p,
.up-Panel dl,
.up-Panel dd,
.up-Panel ol,
.up-Panel ul {
  margin: 0;
  padding: 0;
}

.up-Header {
  align-items: center;
  display: flex;
  gap: 8px;
  min-height: 40px;
}

.up-Header h2 {
  font-size: var(--jp-ui-font-size1);
  font-weight: 600;
  white-space: nowrap;
}

.up-Header .up-Refresh {
  margin-left: auto;
}

.up-Badge {
  border: 1px solid var(--jp-warn-color1);
  border-radius: 9px;
  color: var(--jp-ui-font-color1);
  font-size: var(--jp-ui-font-size0);
  line-height: 16px;
  padding: 0 7px;
  white-space: nowrap;
}

.up-Section {
  border-top: 1px solid var(--jp-border-color2);
  padding: 12px 0;
}

.up-Heading {
  align-items: baseline;
  display: flex;
  justify-content: space-between;
  margin-bottom: 6px;
}

.up-Heading h3 {
  color: var(--jp-ui-font-color2);
  font-size: var(--jp-ui-font-size0);
  font-weight: 600;
  letter-spacing: 0.04em;
  text-transform: uppercase;
}

.up-Quiet {
  color: var(--jp-ui-font-color2);
  font-size: var(--jp-ui-font-size0);
}

.up-State {
  align-items: center;
  display: flex;
  gap: 8px;
}

.up-Dot {
  background: var(--jp-ui-font-color3);
  border-radius: 50%;
  flex: none;
  height: 10px;
  width: 10px;
}

.up-State[data-state='running'] .up-Dot {
  background: var(--jp-success-color1);
}

.up-State[data-state='refused'] .up-Dot,
.up-State[data-state='other_version'] .up-Dot,
.up-State[data-state='slow'] .up-Dot {
  background: var(--jp-warn-color1);
}

.up-State[data-state='unreachable'] .up-Dot,
.up-State[data-state='foreign'] .up-Dot,
.up-State[data-state='misconfigured'] .up-Dot,
.up-State[data-state='no_server_part'] .up-Dot {
  background: var(--jp-error-color1);
}

.up-Health p {
  overflow-wrap: anywhere;
}

.up-Health p + p {
  margin-top: 4px;
}

.up-Buttons {
  display: flex;
  flex-wrap: wrap;
  gap: 8px;
}

.up-Buttons:not(:empty) {
  margin-top: 8px;
}

.up-Panel .up-Buttons button.jp-mod-styled {
  height: 26px;
  line-height: 24px;
  margin: 0;
  min-width: 0;
  padding: 0 12px;
}

.up-Panel .up-Buttons button[disabled] {
  cursor: default;
  opacity: 0.5;
}

.up-Trouble {
  border-left: 3px solid var(--jp-error-color1);
  margin-top: 8px;
  overflow-wrap: anywhere;
  padding: 2px 0 2px 8px;
}

.up-Figures {
  display: grid;
  gap: 4px 16px;
  grid-template-columns: auto auto 1fr;
}

.up-Figure dt {
  color: var(--jp-ui-font-color2);
  font-size: var(--jp-ui-font-size0);
}

.up-Figure dd {
  font-variant-numeric: tabular-nums;
  font-weight: 600;
}

.up-Figure.up-mod-large {
  grid-column: 1 / -1;
}

.up-Figure.up-mod-large dd {
  font-size: calc(var(--jp-ui-font-size3) * 1.2);
  line-height: 1.2;
}

.up-Figures + .up-Quiet {
  margin-top: 6px;
}

.up-Live {
  color: var(--jp-ui-font-color2);
  font-size: var(--jp-ui-font-size0);
}

.up-Live::before {
  background: var(--jp-success-color1);
  border-radius: 50%;
  content: '';
  display: inline-block;
  height: 7px;
  margin-right: 5px;
  width: 7px;
}

.up-Calls,
.up-Models {
  list-style: none;
}

.up-Calls {
  margin: 0 -12px !important;
  max-height: 320px;
  overflow-y: auto;
}

.up-Calls:focus-visible {
  outline: 2px solid var(--jp-brand-color1);
  outline-offset: -2px;
}

.up-Call,
.up-Models > li {
  column-gap: 8px;
  display: grid;
  grid-template-columns: minmax(0, 1fr) auto;
}

.up-Call {
  border-left: 3px solid transparent;
  padding: 4px 12px 4px 9px;
}

.up-Call + .up-Call {
  border-top: 1px solid var(--jp-border-color3);
}

.up-Call.up-mod-bad {
  border-left-color: var(--jp-error-color1);
}

.up-Name {
  overflow: hidden;
  text-overflow: ellipsis;
  white-space: nowrap;
}

.up-Number {
  font-variant-numeric: tabular-nums;
  text-align: right;
}

.up-Call .up-Details {
  column-gap: 8px;
  display: flex;
  grid-column: 1 / -1;
  justify-content: space-between;
}

.up-Call .up-Details > span {
  overflow: hidden;
  text-overflow: ellipsis;
  white-space: nowrap;
}

.up-Call .up-Status {
  flex: none;
}

.up-Call.up-mod-bad .up-Status {
  color: var(--jp-error-color1);
  font-weight: 600;
}

.up-Models > li + li {
  margin-top: 8px;
}

.up-Models .up-Quiet,
.up-Models .up-Bar {
  grid-column: 1 / -1;
}

.up-Bar {
  background: var(--jp-layout-color2);
  border-radius: 2px;
  height: 4px;
  margin: 2px 0;
  overflow: hidden;
}

.up-Bar > span {
  background: var(--jp-brand-color1);
  border-radius: 2px;
  display: block;
  height: 100%;
}

.up-Budgets {
  list-style: none;
}

.up-Budget {
  column-gap: 8px;
  display: grid;
  grid-template-columns: minmax(0, 1fr) auto;
  margin-top: 8px;
}

.up-Budget .up-Bar {
  display: flex;
  grid-column: 1 / -1;
  height: 6px;
  position: relative;
}

.up-Budget .up-Bar > span {
  border-radius: 0;
}

.up-Budget .up-Bar > .up-mod-held {
  background: repeating-linear-gradient(
    135deg,
    var(--jp-brand-color1) 0 2px,
    var(--jp-layout-color2) 2px 4px
  );
}

.up-Budget .up-Bar > .up-mod-likely {
  opacity: 0.35;
  position: absolute;
}

.up-Budget .up-Bar > .up-mod-end {
  background: var(--jp-ui-font-color1);
  position: absolute;
  width: 2px;
}

.up-Budget .up-Name,
.up-Budget .up-Quiet {
  grid-column: 1 / -1;
}

.up-Budget.up-mod-bad .up-Spent {
  color: var(--jp-error-color1);
  font-weight: 600;
}

.up-Form {
  display: grid;
  gap: 4px;
}

.up-Form label {
  color: var(--jp-ui-font-color2);
  font-size: var(--jp-ui-font-size0);
}

.up-Form select,
.up-Form input {
  background-color: var(--jp-input-background);
  border: 1px solid var(--jp-border-color1);
  border-radius: var(--jp-border-radius);
  box-sizing: border-box;
  color: var(--jp-ui-font-color1);
  font-family: inherit;
  font-size: var(--jp-ui-font-size1);
  height: 28px;
  padding: 0 6px;
  width: 100%;
}

.up-Form input:focus-visible,
.up-Form select:focus-visible {
  border-color: var(--jp-brand-color1);
  outline: 1px solid var(--jp-brand-color1);
}

.up-Form input:disabled,
.up-Form select:disabled {
  opacity: 0.6;
}

.up-Form .up-Buttons {
  margin-top: 4px;
}

.up-Done:not(:empty) {
  border-left: 3px solid var(--jp-success-color1);
  padding-left: 8px;
}

.up-StatusItem {
  display: flex;
}

.up-StatusButton {
  background: none;
  border: 0;
  color: inherit;
  cursor: pointer;
  font: inherit;
  height: 100%;
  padding: 0 6px;
}

.up-StatusButton:hover {
  background: var(--jp-layout-color3);
}

.up-StatusButton:focus-visible {
  outline: 1px solid var(--jp-brand-color1);
  outline-offset: -1px;
}

.up-KernelButton .jp-ToolbarButtonComponent-label {
  margin-left: 4px;
}

.up-CellLine {
  color: var(--jp-ui-font-color2);
  font-family: var(--jp-ui-font-family);
  font-size: var(--jp-ui-font-size0);
  font-variant-numeric: tabular-nums;
  line-height: 18px;
  overflow-wrap: anywhere;
  padding: 1px 8px 1px
    calc(
      var(--jp-cell-collapser-width) + var(--jp-cell-prompt-width) + var(--jp-cell-padding) + 4px
    );
}

.up-CellLine.up-mod-bad {
  color: var(--jp-error-color1);
}

@media print {
  .up-CellLine {
    display: none;
  }
}
`,""]),r.d(o,{},{A:n})},314(e){e.exports=function(e){var o=[];return o.toString=function(){return this.map(function(o){var r="",t=void 0!==o[5];return o[4]&&(r+="@supports (".concat(o[4],") {")),o[2]&&(r+="@media ".concat(o[2]," {")),t&&(r+="@layer".concat(o[5].length>0?" ".concat(o[5]):""," {")),r+=e(o),t&&(r+="}"),o[2]&&(r+="}"),o[4]&&(r+="}"),r}).join("")},o.i=function(e,r,t,a,p){"string"==typeof e&&(e=[[null,e,void 0]]);var n={};if(t)for(var i=0;i<this.length;i++){var u=this[i][0];null!=u&&(n[u]=!0)}for(var l=0;l<e.length;l++){var s=[].concat(e[l]);t&&n[s[0]]||(void 0!==p&&(void 0===s[5]||(s[1]="@layer".concat(s[5].length>0?" ".concat(s[5]):""," {").concat(s[1],"}")),s[5]=p),r&&(s[2]&&(s[1]="@media ".concat(s[2]," {").concat(s[1],"}")),s[2]=r),a&&(s[4]?(s[1]="@supports (".concat(s[4],") {").concat(s[1],"}"),s[4]=a):s[4]="".concat(a)),o.push(s))}},o}},601(e){e.exports=function(e){return e[1]}},72(e){var o=[];function r(e){for(var r=-1,t=0;t<o.length;t++)if(o[t].identifier===e){r=t;break}return r}function t(e,t){for(var a={},p=[],n=0;n<e.length;n++){var i=e[n],u=t.base?i[0]+t.base:i[0],l=a[u]||0,s="".concat(u," ").concat(l);a[u]=l+1;var d=r(s),c={css:i[1],media:i[2],sourceMap:i[3],supports:i[4],layer:i[5]};if(-1!==d)o[d].references++,o[d].updater(c);else{var f=function(e,o){var r=o.domAPI(o);return r.update(e),function(o){o?(o.css!==e.css||o.media!==e.media||o.sourceMap!==e.sourceMap||o.supports!==e.supports||o.layer!==e.layer)&&r.update(e=o):r.remove()}}(c,t);t.byIndex=n,o.splice(n,0,{identifier:s,updater:f,references:1})}p.push(s)}return p}e.exports=function(e,a){var p=t(e=e||[],a=a||{});return function(e){e=e||[];for(var n=0;n<p.length;n++){var i=r(p[n]);o[i].references--}for(var u=t(e,a),l=0;l<p.length;l++){var s=r(p[l]);0===o[s].references&&(o[s].updater(),o.splice(s,1))}p=u}}},659(e){var o={};e.exports=function(e,r){var t=function(e){if(void 0===o[e]){var r=document.querySelector(e);if(window.HTMLIFrameElement&&r instanceof window.HTMLIFrameElement)try{r=r.contentDocument.head}catch(e){r=null}o[e]=r}return o[e]}(e);if(!t)throw Error("Couldn't find a style target. This probably means that the value for the 'insert' parameter is invalid.");t.appendChild(r)}},540(e){e.exports=function(e){var o=document.createElement("style");return e.setAttributes(o,e.attributes),e.insert(o,e.options),o}},56(e,o,r){e.exports=function(e){var o=r.nc;o&&e.setAttribute("nonce",o)}},825(e){e.exports=function(e){if("u"<typeof document)return{update:function(){},remove:function(){}};var o=e.insertStyleElement(e);return{update:function(r){var t,a,p;t="",r.supports&&(t+="@supports (".concat(r.supports,") {")),r.media&&(t+="@media ".concat(r.media," {")),(a=void 0!==r.layer)&&(t+="@layer".concat(r.layer.length>0?" ".concat(r.layer):""," {")),t+=r.css,a&&(t+="}"),r.media&&(t+="}"),r.supports&&(t+="}"),(p=r.sourceMap)&&"u">typeof btoa&&(t+="\n/*# sourceMappingURL=data:application/json;base64,".concat(btoa(unescape(encodeURIComponent(JSON.stringify(p))))," */")),e.styleTagTransform(t,o,e.options)},remove:function(){var e;null===(e=o).parentNode||e.parentNode.removeChild(e)}}}},113(e){e.exports=function(e,o){if(o.styleSheet)o.styleSheet.cssText=e;else{for(;o.firstChild;)o.removeChild(o.firstChild);o.appendChild(document.createTextNode(e))}}},579(e,o,r){var t=r(72),a=r.n(t),p=r(825),n=r.n(p),i=r(659),u=r.n(i),l=r(56),s=r.n(l),d=r(540),c=r.n(d),f=r(113),g=r.n(f),m=r(475),v={};v.styleTagTransform=g(),v.setAttributes=s(),v.insert=u().bind(null,"head"),v.domAPI=n(),v.insertStyleElement=c(),a()(m.A,v),m.A&&m.A.locals&&m.A.locals}}]);