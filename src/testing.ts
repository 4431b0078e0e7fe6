// `weft/testing`: what weft's own tests and benches need and programs do not. Faults that are injected into
// devices, and a launch with nothing around it. No part of the public API: it changes without notice.
export { faults } from './fabric/faults.js'
export { launchProbe } from './fabric/launch-probe.js'
