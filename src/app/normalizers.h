#pragma once

namespace CLI {
class App;
}

namespace ssmax::app {

/// `ssmax normalizers`: every kind with its formula, options and learned parameters.
void add_normalizers(CLI::App& app);

}  // namespace ssmax::app
