// SPDX-License-Identifier: Apache-2.0
// The commands of `gemel`. Each does its work, prints what there is to print (what was asked for
// to standard output, reasons of failures to standard error) and gives the exit status.
#pragma once

#include "engine/base/units.hpp"

#include <optional>
#include <string>
#include <vector>

namespace gemel {

// The exit statuses that users were promised.
enum ExitStatus : int {
    kExitDone = 0,
    kExitFailed = 1,    // refused or failed
    kExitUsage = 2,     // wrong usage or configuration
    kExitNoDaemon = 3,  // no daemon answers there
    kExitTimedOut = 4,
};

// Each talks to the daemon of `run`, a run directory.
struct StatusOptions {
    std::string mirror;  // empty: all
    bool json = false;
    bool watch = false;
};
int show_status(const std::string& run, const StatusOptions& options);

struct WaitOptions {
    std::string mirror;
    std::string state;
    std::string timeout;  // empty: for ever
};
int wait_for_state(const std::string& run, const WaitOptions& options);

struct EventsOptions {
    bool follow = false;
    bool json = false;
};
int show_events(const std::string& run, const EventsOptions& options);

// start, stop, release, swap.
int send_command(const std::string& run, const std::string& mirror, const std::string& verb);
struct ResyncOptions {
    std::string mirror;
    bool full = false, pause = false, resume = false, dry_run = false;
    std::string rate;  // "10MiB..1GiB"; empty: not asked for
    bool json = false;
};
int resync(const std::string& run, const ResyncOptions& options);
// `size` like "30GiB".
int resize_volume(const std::string& run, const std::string& mirror, const std::string& volume,
                  const std::string& size);
struct VerifyCommandOptions {
    std::string mirror;
    std::string rate;  // "20MiB" a second or "max"; empty: the daemon's own
    bool repair = false;
    bool stop = false;  // the one under way; goes with nothing else
    bool json = false;
};
// Returns when the comparison, and the mending, has ended. kExitFailed if anything differed.
int verify_mirror(const std::string& run, const VerifyCommandOptions& options);
// By force; `before_resync`: with the state before a resync that was interrupted.
int promote(const std::string& run, const std::string& mirror, bool before_resync);
// Says what a promotion may lose.
int refuse_promotion(const std::string& run, const std::string& mirror);

// These need no daemon.
int check_config_file(const std::string& run, const std::string& state, const std::string& file);
int make_key(const std::string& file);
int examine(const std::vector<std::string>& directories, bool json);
int show_version();

// Says why there was no good answer, and gives the exit status for it.
struct ControlAnswer;
int fail(const ControlAnswer& answer);
int fail_unintelligible();
// "gemel: SENTENCE" to standard error.
void complain(const std::string& sentence);

}  // namespace gemel
