/* OHIF's configuration: one archive, this one, in the session of whoever is logged in. */
const opened = window.location.pathname + window.location.search;
let leaving = false;
// The server says in front of this file what whoever is logged in may do.
const mayStore = window.pacs?.mayStore ?? true;

// OHIF goes from its list to a study without loading a page. One that is in the archive has to be recalled first: the server
// answers its address with a page that does that.
async function waitForRecalled() {
  const { pathname, search } = window.location;
  const asked = [...new URLSearchParams(search)].filter(([name]) => name.toLowerCase() === 'studyinstanceuids');
  for (const study of asked.flatMap(([, value]) => value.split(/[,;]/)).filter(Boolean)) {
    const answer = await fetch(`/api/v1/studies/${encodeURIComponent(study)}/storage`).catch(() => undefined);
    const away = answer?.ok && (await answer.json()).availability === 'OFFLINE';
    if (away && pathname === window.location.pathname && search === window.location.search) {
      window.location.reload();
      return;
    }
  }
}
const push = window.history.pushState;
window.history.pushState = function (...state) {
  push.apply(this, state);
  void waitForRecalled();
};

window.config = {
  routerBasename: '/ohif',
  mayStore,
  extensions: [],
  modes: [],
  // The tour of a first visit covers the images.
  customizationService: { 'ohif.tours': { $set: [] } },
  investigationalUseDialog: { option: 'configure', days: 30 },
  showStudyList: true,
  showLoadingIndicator: true,
  showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: true,
  strictZSpacingForVolumeViewport: true,
  groupEnabledModesFirst: true,
  maxNumberOfWebWorkers: 3,
  maxNumRequests: { interaction: 100, thumbnail: 5, prefetch: 25 },
  showErrorDetails: 'always',
  defaultDataSourceName: 'archive',
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'archive',
      configuration: {
        friendlyName: 'Archive',
        name: 'archive',
        qidoRoot: '/dicom-web',
        wadoRoot: '/dicom-web',
        wadoUriRoot: '/dicom-web/wado',
        qidoSupportsIncludeField: true,
        supportsFuzzyMatching: true,
        supportsWildcard: true,
        supportsReject: false,
        supportsStow: mayStore,
        dicomUploadEnabled: mayStore,
        enableStudyLazyLoad: true,
        imageRendering: 'wadors',
        thumbnailRendering: 'thumbnail',
        thumbnailRequestStrategy: 'fetch',
        singlepart: 'bulkdata,video,pdf',
        bulkDataURI: { enabled: true, relativeResolution: 'studies' },
        omitQuotationForMultipartRequest: true,
      },
    },
  ],
  httpErrorHandler: error => {
    if (error.status !== 401 || leaving) return;
    leaving = true;
    const { pathname, search } = window.location;
    // OHIF may have gone to the page for a study that is not there.
    const here = pathname.endsWith('/notfoundstudy') ? opened : pathname + search;
    window.location.assign('/?next=' + encodeURIComponent(here));
  },
};
