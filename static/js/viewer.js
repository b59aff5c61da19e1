/* Tells the viewer what it needs to know, before it starts. All of it comes from our own page, nothing from the address bar. */
(() => {
  "use strict";
  const settings = JSON.parse(document.getElementById("viewer-configuration").textContent);

  // The viewer reads its study from the address. Whatever else stood there is dropped: it knows parameters that load
  // studies and programs from other places.
  const mpr = new URLSearchParams(location.search).get("hangingProtocolId") === "mpr" ? "&hangingProtocolId=mpr" : "";
  const first = settings.series_instance_uid ? `&initialSeriesInstanceUID=${settings.series_instance_uid}` : "";
  const address = `${settings.base_path}/${settings.mode}?StudyInstanceUIDs=${settings.study_instance_uid}${first}${mpr}`;
  history.replaceState(null, "", address);

  window.PUBLIC_URL = settings.assets_url;
  window.browserImportFunction = (module) => import(module);

  // Taken back, expired or signed out: the page itself says what is the matter. A single missing thing is no reason.
  let asked = 0;
  const checkWhetherStillAllowed = async () => {
    if (Date.now() - asked < 5000) return;
    asked = Date.now();
    const answer = await fetch(settings.base_path + "/", { method: "HEAD", redirect: "manual", cache: "no-store" });
    if (!answer.ok) location.reload();
  };

  // Two things that real headers say and this release of the viewer stumbles over (a black picture): a pixel spacing of zero,
  // and a VOI LUT function given as a word, of which it reads the first letter. It asks us first, and we answer for those.
  const repairs = {
    imagePlaneModule: (plane) => {
      if (plane.rowPixelSpacing > 0 && plane.columnPixelSpacing > 0) return undefined;
      return { ...plane, pixelSpacing: [1, 1], rowPixelSpacing: 1, columnPixelSpacing: 1, usingDefaultValues: true };
    },
    voiLutModule: (voi) => (
      typeof voi.voiLUTFunction === "string" ? { ...voi, voiLUTFunction: [voi.voiLUTFunction] } : undefined
    ),
  };
  const extension = {
    id: "viewbox",
    onModeEnter: () => {
      const { metaData } = window.cornerstone;
      let isAsking = false;
      metaData.addProvider((kind, imageId) => {
        if (isAsking || !(kind in repairs)) return undefined;
        isAsking = true;
        try {
          const found = metaData.get(kind, imageId);
          return found ? repairs[kind](found) : undefined;
        } finally {
          isAsking = false;
        }
      }, 30000);
    },
  };

  const isPhone = window.innerWidth < 768;
  const quick = (react) => settings.quick_url && react.createElement(
    "a",
    { href: settings.quick_url, className: "vb-viewer-quick", key: "quick" },
    settings.quick_label,
  );
  const home = (react) => react.createElement(
    "a",
    { href: settings.home_url, key: "home", className: "vb-viewer-brand", title: settings.home_label, "aria-label": settings.home_label },
    react.createElement("span", { className: "vb-viewer-back", "aria-hidden": "true" }, "\u2039"),
    react.createElement("img", { src: settings.logo_url, width: 26, height: 26, alt: "" }),
    react.createElement("span", { className: "vb-viewer-name" }, settings.title),
  );
  const brand = (react) => react.createElement("span", { className: "vb-viewer-head" }, [home(react), quick(react)]);

  window.config = {
    name: "viewbox",
    routerBasename: settings.base_path,
    extensions: [extension],
    modes: [],
    whiteLabeling: { createLogoComponentFn: brand },
    customizationService: [{ "ohif.tours": { $set: [] } }],
    modesConfiguration: Object.fromEntries(
      ["@ohif/mode-longitudinal", "@ohif/mode-basic"].map((mode) => [mode, {
        routes: { 0: { layoutInstance: { props: {
          leftPanelClosed: { $set: isPhone },
          rightPanelClosed: { $set: true },
          ...(isPhone ? { rightPanels: { $set: [] } } : {}),
        } } } },
      }]),
    ),
    showStudyList: false,
    measurementTrackingMode: "none",
    maxNumberOfWebWorkers: Math.max(1, Math.min(3, (navigator.hardwareConcurrency || 2) - 1)),
    showWarningMessageForCrossOrigin: false,
    showCPUFallbackMessage: true,
    showLoadingIndicator: true,
    strictZSpacingForVolumeViewport: true,
    maxNumRequests: { interaction: 100, thumbnail: 5, prefetch: 6 },
    showErrorDetails: "production",
    investigationalUseDialog: { option: "never" },
    httpErrorHandler: (error) => {
      if (error && [401, 403, 404].includes(error.status)) checkWhetherStillAllowed();
    },
    defaultDataSourceName: "viewbox",
    dataSources: [{
      namespace: "@ohif/extension-default.dataSourcesModule.dicomweb",
      sourceName: "viewbox",
      configuration: {
        friendlyName: settings.title,
        name: "viewbox",
        qidoRoot: settings.dicomweb_root,
        wadoRoot: settings.dicomweb_root,
        wadoUriRoot: settings.dicomweb_root,
        qidoSupportsIncludeField: true,
        supportsReject: false,
        dicomUploadEnabled: false,
        imageRendering: "wadors",
        thumbnailRendering: "thumbnail",
        thumbnailRequestStrategy: "fetch",
        enableStudyLazyLoad: true,
        supportsFuzzyMatching: false,
        supportsWildcard: true,
        staticWado: false,
        singlepart: "bulkdata,video",
        bulkDataURI: { enabled: true, relativeResolution: "studies" },
        omitQuotationForMultipartRequest: true,
      },
    }],
  };
})();
