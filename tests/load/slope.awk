# The slope per minute of one column of samples.csv by least squares, from second 0 on.
# -v column=NAME; nothing is printed where there are fewer than 3 samples.
BEGIN { FS = "," }
NR == 1 {
    for (i = 1; i <= NF; i++)
        if ($i == column)
            at = i
    next
}
at && $1 >= 0 && $at != "" {
    n++
    x = $1 / 60
    y = $at
    if (n == 1)
        y0 = y # keeps large values exact
    y -= y0
    sx += x; sy += y; sxx += x * x; sxy += x * y
}
END {
    if (n >= 3 && n * sxx - sx * sx > 0)
        printf "%.3f\n", (n * sxy - sx * sy) / (n * sxx - sx * sx)
}
