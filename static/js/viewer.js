/* Tells the viewer what it needs to know, before it starts. All of it comes from our own page, nothing from the address bar. */
(() => {
  "use strict";
  const settings = JSON.parse(document.getElementById("viewer-configuration").textContent);

  // The viewer reads its study from the address. Whatever else stood there is dropped: it knows parameters that load
  // studies and programs from other places.
  const asked = new URLSearchParams(location.search).get("hangingProtocolId");
  const isComparison = asked === "comparison" && settings.prior_study_instance_uid;
  const hanging = isComparison || asked === "mpr" ? `&hangingProtocolId=${asked}` : "";
  const studies = settings.study_instance_uid + (isComparison ? `,${settings.prior_study_instance_uid}` : "");
  const first = settings.series_instance_uid ? `&initialSeriesInstanceUID=${settings.series_instance_uid}` : "";
  const address = `${settings.base_path}/${settings.mode}?StudyInstanceUIDs=${studies}${first}${hanging}`;
  history.replaceState(null, "", address);

  window.PUBLIC_URL = settings.assets_url;
  window.browserImportFunction = (module) => import(module);

  // Taken back, expired or signed out: the page itself says what is the matter. A single missing thing is no reason.
  let checkedAt = 0;
  const checkWhetherStillAllowed = async () => {
    if (Date.now() - checkedAt < 5000) return;
    checkedAt = Date.now();
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
  // Two studies beside each other, on a phone one below the other: the one that was opened first, then its prior.
  const isPhone = window.innerWidth < 768;
  const imagesOf = (place) => ({
    studyMatchingRules: [{ attribute: "studyInstanceUIDsIndex", from: "options", required: true, constraint: { equals: { value: place } } }],
    seriesMatchingRules: [{ attribute: "numImageFrames", required: true, constraint: { greaterThan: { value: 0 } } }],
  });
  const viewportOf = (id) => ({
    viewportOptions: { toolGroupId: "default", allowUnmatchedView: true },
    displaySets: [{ id }],
  });
  const comparison = {
    id: "comparison",
    name: settings.compare_label,
    numberOfPriorsReferenced: 1,
    protocolMatchingRules: [],
    toolGroupIds: ["default"],
    displaySetSelectors: { current: imagesOf(0), prior: imagesOf(1) },
    stages: [{
      name: "comparison",
      viewportStructure: { layoutType: "grid", properties: isPhone ? { rows: 2, columns: 1 } : { rows: 1, columns: 2 } },
      viewports: [viewportOf("current"), viewportOf("prior")],
    }],
  };
  const extension = {
    id: "viewbox",
    getHangingProtocolModule: () => [{ name: comparison.id, protocol: comparison }],
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

  const link = (react, url, label) => url && react.createElement("a", { href: url, className: "vb-viewer-link", key: label }, label);
  const home = (react) => react.createElement(
    "a",
    { href: settings.home_url, key: "home", className: "vb-viewer-brand", title: settings.home_label, "aria-label": settings.home_label },
    react.createElement("span", { className: "vb-viewer-back", "aria-hidden": "true" }, "\u2039"),
    react.createElement("img", { src: settings.logo_url, width: 26, height: 26, alt: "" }),
    react.createElement("span", { className: "vb-viewer-name" }, settings.title),
  );
  const brand = (react) => react.createElement("span", { className: "vb-viewer-head" }, [
    home(react),
    link(react, settings.quick_url, settings.quick_label),
    link(react, isComparison ? "" : settings.compare_url, settings.compare_label),
  ]);

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
