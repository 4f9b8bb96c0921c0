'use strict';

require('workerpool').worker({ echo: (text) => text });
