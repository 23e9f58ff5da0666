// SPDX-License-Identifier: Apache-2.0
/// @file
/// How requests end.
#pragma once

/// Marks what libgemel.so exports.
#define LIBGEMEL_API __attribute__((visibility("default")))

/// The engine as a library: a node of a cluster in one's own process. See node.hpp.
namespace libgemel {

/// The outcome of a request. The numbers are those of the C API and never change their meaning.
enum class Error : int {
    /// Done.
    none = 0,
    /// Beyond the end of the volume, larger than Volume::request_size_max(), or an option that
    /// makes no sense. Nothing was done.
    invalid_argument = 1,
    /// This node did not serve the mirror when the request arrived. Nothing was done; the other
    /// node may serve it.
    not_serving = 2,
    /// A change or a flush was under way when this node ceased to serve. It may have been carried
    /// out or not, as after a crash of one machine: whoever serves now has the answer.
    outcome_unknown = 3,
    /// The disk below this node's copy, or a quota on it, is full. The range holds what it held
    /// before or parts of what was written, the same on both nodes.
    no_space = 4,
    /// The disk failed. What the range holds is not known; this node is about to hand over.
    io = 5,
    /// The disk's file system lacks what was asked for.
    unsupported = 6,
    /// A command is not possible in the mirror's state; the sentence that comes with it says why.
    refused = 7,
};

/// A short text, "the node does not serve the mirror".
/// @param error  any value; an unknown one gives "unknown error".
/// @return a constant of the library's. Any thread.
LIBGEMEL_API const char* error_text(Error error) noexcept;

}  // namespace libgemel
