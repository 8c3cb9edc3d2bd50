# What `cmake --install` puts where, and the Debian package that `cpack` makes of it.
include(GNUInstallDirs)

# Completion and manual come from the program's own list of options.
set(shell_folder ${CMAKE_BINARY_DIR}/shell)
set(SSMAX_ON_BUILD_MACHINE TRUE)
if(CMAKE_CROSSCOMPILING)
  set(SSMAX_ON_BUILD_MACHINE FALSE)
endif()
if(SSMAX_ON_BUILD_MACHINE)
  file(MAKE_DIRECTORY ${shell_folder})
  add_custom_command(
    OUTPUT ${shell_folder}/ssmax ${shell_folder}/_ssmax ${shell_folder}/ssmax.1
    COMMAND ssmax completion bash > ${shell_folder}/ssmax
    COMMAND ssmax completion zsh > ${shell_folder}/_ssmax
    COMMAND ssmax man > ${shell_folder}/ssmax.1
    DEPENDS ssmax COMMENT "Completion and manual of the program" VERBATIM)
  add_custom_target(shell_files ALL DEPENDS ${shell_folder}/ssmax)
  install(FILES ${shell_folder}/ssmax
          DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${shell_folder}/_ssmax DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
  install(FILES ${shell_folder}/ssmax.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endif()

install(TARGETS ssmax RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY configs DESTINATION ${CMAKE_INSTALL_DATADIR}/ssmax)
install(DIRECTORY scripts/ DESTINATION ${CMAKE_INSTALL_DATADIR}/ssmax/scripts
        USE_SOURCE_PERMISSIONS FILES_MATCHING
        PATTERN "plot.py" PATTERN "follow_metrics.py" PATTERN "log_to_*.py"
        PATTERN "prepare_dataset.py" PATTERN "evaluate_harness.sh" PATTERN "find_python.sh")
install(FILES README.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME ssmax)
set(CPACK_PACKAGE_VENDOR "the authors of ssmax")
set(CPACK_PACKAGE_CONTACT "the authors of ssmax <ssmax@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Trains GPTs whose attention normalizer can be swapped")
set(CPACK_PACKAGE_DESCRIPTION
    "Trains, resumes, evaluates and samples GPT models whose attention normalizer is a part you can
 swap: Softmax, Scalable-Softmax, Self-Adjust Softmax, sinks and more. Needs a processor with AVX2.")
set(CPACK_RESOURCE_FILE_LICENSE ${CMAKE_SOURCE_DIR}/LICENSE)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
# The libraries that the program is linked to, at the versions it was built with.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "python3, python3-matplotlib")
include(CPack)
