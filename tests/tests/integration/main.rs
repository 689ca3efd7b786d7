//! The promises of the host, tested where they are made: a promise to an embedder through the library, a promise to an
//! operator through the command. Real shared libraries, real `dlopen`, real files. Nothing sleeps: tests wait for events.

mod author;
mod binary;
mod browser;
mod causes;
mod check;
mod compose;
mod conservation;
mod contract;
mod embed;
mod evaluate;
mod faults;
mod files;
mod foreign_files;
mod hosted;
mod loaded;
mod logging;
mod names;
mod output;
mod paths;
mod record;
mod refusals;
mod replay;
mod report;
mod rounds;
mod run;
mod sandbox;
mod score;
mod shadow;
mod state;
mod state_dir;
mod swap;
mod text;
mod third_party;
mod tidy;
mod truth;
