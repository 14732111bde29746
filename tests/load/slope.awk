# The slope per minute of one column of samples.csv by least squares, from second 0 on.
# -v column=NAME, -v less=NAME: a column that is subtracted, if given. Nothing is printed where there are fewer than 3 samples.
BEGIN { FS = "," }
NR == 1 {
    for (i = 1; i <= NF; i++) {
        if ($i == column)
            at = i
        if ($i == less)
            less_at = i
    }
    next
}
at && $1 >= 0 && $at != "" {
    n++
    x = $1 / 60
    y = $at - (less_at ? $less_at : 0)
    if (n == 1)
        y0 = y # keeps large values exact
    y -= y0
    sx += x; sy += y; sxx += x * x; sxy += x * y
}
END {
    if (n >= 3 && n * sxx - sx * sx > 0)
        printf "%.3f\n", (n * sxy - sx * sy) / (n * sxx - sx * sx)
}
