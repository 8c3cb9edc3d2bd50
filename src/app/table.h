#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

namespace ssmax::app {

enum class Align : std::uint8_t { left, right };

/// A table of text for the terminal: columns as wide as their widest cell, two spaces between.
class Table {
 public:
  /// Columns beyond `align` are aligned right.
  Table(std::vector<std::string> header, std::vector<Align> align);

  /// One cell for each column.
  void add(std::vector<std::string> row);
  void print(std::ostream& out) const;

 private:
  std::vector<std::vector<std::string>> rows_;
  std::vector<Align> align_;
};

}  // namespace ssmax::app
