"use strict";(self.rspackChunk_ultimate_proxy_jupyterlab=self.rspackChunk_ultimate_proxy_jupyterlab||[]).push([[232],{475(e,t,r){var o=r(601),a=r.n(o),n=r(314),p=(r.n(n))()(a());p.push([e.id,`/* Colours and sizes come from JupyterLab's theme alone. */

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

.up-Panel code {
  background: none;
  color: inherit;
  font-size: inherit;
  overflow-wrap: anywhere;
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
}

.up-Header .up-Refresh {
  margin-left: auto;
}

.up-Badge {
  background: var(--jp-warn-color3);
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

.up-Call .up-Status {
  color: var(--jp-ui-font-color2);
  font-size: var(--jp-ui-font-size0);
  text-align: right;
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
  box-sizing: border-box;
  height: 28px;
  width: 100%;
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
`,""]),r.d(t,{},{A:p})},314(e){e.exports=function(e){var t=[];return t.toString=function(){return this.map(function(t){var r="",o=void 0!==t[5];return t[4]&&(r+="@supports (".concat(t[4],") {")),t[2]&&(r+="@media ".concat(t[2]," {")),o&&(r+="@layer".concat(t[5].length>0?" ".concat(t[5]):""," {")),r+=e(t),o&&(r+="}"),t[2]&&(r+="}"),t[4]&&(r+="}"),r}).join("")},t.i=function(e,r,o,a,n){"string"==typeof e&&(e=[[null,e,void 0]]);var p={};if(o)for(var i=0;i<this.length;i++){var u=this[i][0];null!=u&&(p[u]=!0)}for(var l=0;l<e.length;l++){var s=[].concat(e[l]);o&&p[s[0]]||(void 0!==n&&(void 0===s[5]||(s[1]="@layer".concat(s[5].length>0?" ".concat(s[5]):""," {").concat(s[1],"}")),s[5]=n),r&&(s[2]&&(s[1]="@media ".concat(s[2]," {").concat(s[1],"}")),s[2]=r),a&&(s[4]?(s[1]="@supports (".concat(s[4],") {").concat(s[1],"}"),s[4]=a):s[4]="".concat(a)),t.push(s))}},t}},601(e){e.exports=function(e){return e[1]}},72(e){var t=[];function r(e){for(var r=-1,o=0;o<t.length;o++)if(t[o].identifier===e){r=o;break}return r}function o(e,o){for(var a={},n=[],p=0;p<e.length;p++){var i=e[p],u=o.base?i[0]+o.base:i[0],l=a[u]||0,s="".concat(u," ").concat(l);a[u]=l+1;var c=r(s),d={css:i[1],media:i[2],sourceMap:i[3],supports:i[4],layer:i[5]};if(-1!==c)t[c].references++,t[c].updater(d);else{var f=function(e,t){var r=t.domAPI(t);return r.update(e),function(t){t?(t.css!==e.css||t.media!==e.media||t.sourceMap!==e.sourceMap||t.supports!==e.supports||t.layer!==e.layer)&&r.update(e=t):r.remove()}}(d,o);o.byIndex=p,t.splice(p,0,{identifier:s,updater:f,references:1})}n.push(s)}return n}e.exports=function(e,a){var n=o(e=e||[],a=a||{});return function(e){e=e||[];for(var p=0;p<n.length;p++){var i=r(n[p]);t[i].references--}for(var u=o(e,a),l=0;l<n.length;l++){var s=r(n[l]);0===t[s].references&&(t[s].updater(),t.splice(s,1))}n=u}}},659(e){var t={};e.exports=function(e,r){var o=function(e){if(void 0===t[e]){var r=document.querySelector(e);if(window.HTMLIFrameElement&&r instanceof window.HTMLIFrameElement)try{r=r.contentDocument.head}catch(e){r=null}t[e]=r}return t[e]}(e);if(!o)throw Error("Couldn't find a style target. This probably means that the value for the 'insert' parameter is invalid.");o.appendChild(r)}},540(e){e.exports=function(e){var t=document.createElement("style");return e.setAttributes(t,e.attributes),e.insert(t,e.options),t}},675(e,t,r){e.exports=function(e){var t=r.nc;t&&e.setAttribute("nonce",t)}},825(e){e.exports=function(e){if("u"<typeof document)return{update:function(){},remove:function(){}};var t=e.insertStyleElement(e);return{update:function(r){var o,a,n;o="",r.supports&&(o+="@supports (".concat(r.supports,") {")),r.media&&(o+="@media ".concat(r.media," {")),(a=void 0!==r.layer)&&(o+="@layer".concat(r.layer.length>0?" ".concat(r.layer):""," {")),o+=r.css,a&&(o+="}"),r.media&&(o+="}"),r.supports&&(o+="}"),(n=r.sourceMap)&&"u">typeof btoa&&(o+="\n/*# sourceMappingURL=data:application/json;base64,".concat(btoa(unescape(encodeURIComponent(JSON.stringify(n))))," */")),e.styleTagTransform(o,t,e.options)},remove:function(){var e;null===(e=t).parentNode||e.parentNode.removeChild(e)}}}},113(e){e.exports=function(e,t){if(t.styleSheet)t.styleSheet.cssText=e;else{for(;t.firstChild;)t.removeChild(t.firstChild);t.appendChild(document.createTextNode(e))}}},579(e,t,r){var o=r(72),a=r.n(o),n=r(825),p=r.n(n),i=r(659),u=r.n(i),l=r(675),s=r.n(l),c=r(540),d=r.n(c),f=r(113),g=r.n(f),v=r(475),m={};m.styleTagTransform=g(),m.setAttributes=s(),m.insert=u().bind(null,"head"),m.domAPI=p(),m.insertStyleElement=d(),a()(v.A,m),v.A&&v.A.locals&&v.A.locals}}]);