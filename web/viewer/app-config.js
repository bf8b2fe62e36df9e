/* OHIF's configuration: one archive, this one, in the session of whoever is logged in. */
const opened = window.location.pathname + window.location.search;
let leaving = false;

window.config = {
  routerBasename: '/ohif',
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
        supportsStow: true,
        dicomUploadEnabled: true,
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
