'use strict';
// Gives each job back: of src/bin/kit_speed.rs.

require('../../../worker-kit/node').serve((text) => text);
