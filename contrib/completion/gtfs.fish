# SPDX-License-Identifier: GPL-3.0-or-later
# Completion of gtfs for fish, as click writes it (_GTFS_COMPLETE=fish_source gtfs): put it into
# ~/.config/fish/completions/gtfs.fish
function _gtfs_completion;
    set -l response (env _GTFS_COMPLETE=fish_complete COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -t) gtfs);

    for completion in $response;
        set -l metadata (string split "," $completion);

        if test $metadata[1] = "dir";
            __fish_complete_directories $metadata[2];
        else if test $metadata[1] = "file";
            __fish_complete_path $metadata[2];
        else if test $metadata[1] = "plain";
            echo $metadata[2];
        end;
    end;
end;

complete --no-files --command gtfs --arguments "(_gtfs_completion)";
