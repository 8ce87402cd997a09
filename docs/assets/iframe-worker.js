// A page that was opened from a file may not start a worker, and the search is one.
// So there its script runs in a hidden frame. Over HTTP this file does nothing.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inner = this.frame.contentWindow;
      inner.postMessage = (data) => setTimeout(() => this.onmessage?.({ data }));
      const script = inner.document.createElement("script");
      script.src = url;
      script.onerror = (event) => this.onerror?.(event);
      this.loaded = new Promise((done) => { script.onload = done; });
      inner.document.head.append(script);
    }
    postMessage(data) {
      const inner = this.frame.contentWindow;
      this.loaded.then(() => inner.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
