# SPDX-License-Identifier: MIT
# fish completion of romount(1)

function __romount_boards
    romount list --names 2>/dev/null
end

function __romount_ports
    for port in /dev/ttyACM* /dev/ttyUSB*
        echo $port
    end
end

function __romount_in
    contains -- (commandline -opc)[2] $argv
end

set -l commands list info watch sync eject attach release doctor deploy layout verify save restore format compact mount ls build extract
set -l daemon list info watch sync eject attach release deploy layout verify save restore format compact

complete -c romount -f
complete -c romount -n __fish_use_subcommand -l help -s h -d 'list the commands'
complete -c romount -n __fish_use_subcommand -l version -s V -d 'print the version'
complete -c romount -n "__romount_in help" -a "$commands"
complete -c romount -n __fish_use_subcommand -a list -d 'list the boards and their folders'
complete -c romount -n __fish_use_subcommand -a info -d 'tell about a board, an image or a folder'
complete -c romount -n __fish_use_subcommand -a watch -d 'show what happens to the boards'
complete -c romount -n __fish_use_subcommand -a sync -d 'wait until everything is on flash'
complete -c romount -n __fish_use_subcommand -a eject -d 'write what waits, and let a board go'
complete -c romount -n __fish_use_subcommand -a attach -d 'take a board'
complete -c romount -n __fish_use_subcommand -a release -d 'close the port for another program'
complete -c romount -n __fish_use_subcommand -a doctor -d 'find what keeps boards from appearing'
complete -c romount -n __fish_use_subcommand -a deploy -d 'make a folder equal to a directory or image'
complete -c romount -n __fish_use_subcommand -a layout -d 'draw what stands where in a partition'
complete -c romount -n __fish_use_subcommand -a verify -d 'compare flash with what it should hold'
complete -c romount -n __fish_use_subcommand -a save -d 'copy a partition into an image file'
complete -c romount -n __fish_use_subcommand -a restore -d 'write an image to a partition'
complete -c romount -n __fish_use_subcommand -a format -d 'make an empty file system'
complete -c romount -n __fish_use_subcommand -a compact -d 'make free space blank, or pack'
complete -c romount -n __fish_use_subcommand -a mount -d 'show a partition as a folder'
complete -c romount -n __fish_use_subcommand -a ls -d 'list files in an image or partition'
complete -c romount -n __fish_use_subcommand -a build -d 'pack a directory into an image'
complete -c romount -n __fish_use_subcommand -a extract -d 'copy everything out of an image or partition'
complete -c romount -n __fish_use_subcommand -a help -d 'tell about a command'

# What they work on.
complete -c romount -n "__romount_in info sync eject attach release deploy layout verify save restore format compact" -a '(__romount_boards)' -d board
complete -c romount -n "__romount_in info attach doctor layout format compact mount ls extract" -a '(__romount_ports)' -d port
complete -c romount -n "__romount_in info sync deploy layout save restore format compact mount ls build extract" -F

# Options.
complete -c romount -n "__romount_in $commands" -l help -s h -d 'tell about this command'
complete -c romount -n "__romount_in $daemon doctor" -l json -s j -d 'as JSON'
complete -c romount -n "__romount_in $daemon" -l host -s H -x -a '(__fish_print_hostnames)' -d 'the daemon of another computer'
complete -c romount -n "__romount_in $daemon" -l system -d "the system's daemon alone"
complete -c romount -n "__romount_in $daemon" -l user -d "the user's own daemon alone"
complete -c romount -n "__romount_in list" -l names -d 'names alone'
complete -c romount -n "__romount_in info" -l summary -s s -d 'no list of what stands where'
complete -c romount -n "__romount_in info" -l usage -s u -d 'read everything, and count what is blank'
complete -c romount -n "__romount_in attach" -l alias -x -d 'what the port is to be called'
complete -c romount -n "__romount_in release" -l for -x -d 'seconds'
complete -c romount -n "__romount_in deploy" -l exact -d 'byte for byte'
complete -c romount -n "__romount_in layout" -l svg -r -F -d 'a picture in this file'
complete -c romount -n "__romount_in deploy restore format" -l yes -s y -d 'do not ask'
complete -c romount -n "__romount_in info layout format compact mount ls extract" -l partition -s p -x -d number
complete -c romount -n "__romount_in info format compact mount" -l state -x -a '(__fish_complete_directories)' -d 'where staged files are'
complete -c romount -n "__romount_in attach format compact mount" -l baud -x -a '9600 57600 115200 230400 460800 921600' -d 'speed of a real serial line'
complete -c romount -n "__romount_in format mount" -l size -x -d 'of an image file'
complete -c romount -n "__romount_in compact" -l packed -d 'as mpremote packs it'
complete -c romount -n "__romount_in deploy build" -l align -s a -x -d 'PATTERN=N'
complete -c romount -n "__romount_in compact mount" -l align -x -d 'PATTERN=N'
complete -c romount -n "__romount_in mount" -l foreground -s f -d 'stay in the foreground'
complete -c romount -n "__romount_in mount" -l quiet -x -d milliseconds
complete -c romount -n "__romount_in mount" -l idle -x -a never -d seconds
complete -c romount -n "__romount_in mount" -l id -x -d 'which board it is'
complete -c romount -n "__romount_in mount" -l ask -d 'ask the board first'
complete -c romount -n "__romount_in ls" -l long -s l -d 'sizes and times'
complete -c romount -n "__romount_in ls" -l recursive -s R -d 'folders within folders'
complete -c romount -n "__romount_in build" -l mtime -d 'keep modification times'
complete -c romount -n "__romount_in build" -l output -s o -r -F -d 'the image file'
complete -c romount -n "__romount_in extract" -l force -s f -d 'into a directory with something in it'
